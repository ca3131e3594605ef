# Starts a real Docker inside of the scenario's world: engine docker [ARGS OF DOCKERD]
# It has two images. shop is BusyBox with one page, debian is this system's own programs,
# for which a container needs -v /usr:/usr:ro.
set -e
mount -t cgroup2 none /sys/fs/cgroup
group=$(sed -n 's/^0:://p' /proc/self/cgroup)
rm -f /etc/docker
mkdir -p /etc/docker
dockerd --data-root /tmp/docker --exec-root /run/docker --pidfile /run/docker.pid -H unix:///run/docker.sock \
	--cgroup-parent $group/docker --storage-driver vfs "$@" >/tmp/docker.log 2>&1 &
until test -S /run/docker.sock && docker version >/dev/null 2>&1; do sleep 0.05; done
sh images.sh docker import -
echo ready
wait
