package xt

func rarerMatchDecoder(k kind) (size int, decode decoder) { return 0, nil }

func rarerTargetDecoder(k kind) (size int, decode decoder) { return 0, nil }
