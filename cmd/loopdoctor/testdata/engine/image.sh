# Makes the directory in which the image of loopdoctor can be built without a network, by
# the command of docs/containers.md: the last stage of docs/Containerfile, and for what the
# first one compiles the program under test, with the libraries that it may need.
set -e
mkdir root
program=$(command -v loopdoctor)
cp $program root/loopdoctor
for file in $(ldd $program 2>/dev/null | grep -o '/[^ ]*'); do
	mkdir -p root${file%/*}
	cp $file root$file
done
last=$(sed -n '/^FROM scratch/,$p' docs/Containerfile)
printf '%s\n' "$last" | sed 's,^COPY --from=build /loopdoctor /loopdoctor$,COPY root/ /,' >docs/Containerfile
grep '^COPY root/ /' docs/Containerfile
