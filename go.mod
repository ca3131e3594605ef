module github.com/loopdoctor/loopdoctor

go 1.26
