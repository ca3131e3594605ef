# Makes the images of the lab: images.sh COMMAND… imports a tar from its standard input
# as the image that is named last.
set -e
mkdir -p /tmp/shop/bin /tmp/shop/shop /tmp/debian/etc /tmp/debian/tmp /tmp/debian/usr /tmp/debian/run /tmp/debian/var
cp /bin/busybox /tmp/shop/bin
for name in sh nc wget cat sleep ip ls; do ln -s busybox /tmp/shop/bin/$name; done
for file in $(ldd /bin/busybox 2>/dev/null | grep -o '/[^ ]*'); do
	mkdir -p /tmp/shop${file%/*}
	cp $file /tmp/shop$file
done
echo hello >/tmp/shop/shop/index.html
for name in bin sbin lib lib32 lib64; do
	[ ! -L /$name ] || ln -s usr/$name /tmp/debian/$name
done
chmod 1777 /tmp/debian/tmp
for image in shop debian; do
	tar -C /tmp/$image -c . | "$@" $image >/dev/null
done
