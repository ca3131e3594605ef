# Starts a real Podman of the ordinary user inside of the scenario's world: engine
# podman-rootless. That user says podman, and has the images of images.sh.
set -e
uid=1000
export XDG_RUNTIME_DIR=/run/user/$uid HOME=/tmp/home
mount -t cgroup2 none /sys/fs/cgroup
# Who moves a process has to own the cgroup that is common to both.
chown -R $uid:$uid /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
# Networks of users need a tun device that everybody may open, as it is elsewhere. /run
# and /tmp take no devices.
mkdir /run/dev
mount -t tmpfs -o mode=755 tmpfs /run/dev
mknod -m 666 /run/dev/tun c 10 200
mount --bind /run/dev/tun /dev/net/tun
rm -f /etc/containers /etc/subuid /etc/subgid
mkdir -p /etc/containers $XDG_RUNTIME_DIR $HOME
chown $uid:$uid $XDG_RUNTIME_DIR $HOME
chmod 700 $XDG_RUNTIME_DIR
echo "dev:x:$uid:$uid:dev:$HOME:/bin/sh" >>/etc/passwd
echo "dev:x:$uid:" >>/etc/group
echo "dev:100000:65536" | tee /etc/subuid >/etc/subgid
sh podman-conf.sh
cat >/tmp/bin/podman <<END
#!/bin/sh
export XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR HOME=$HOME
exec /usr/bin/podman "\$@"
END
chmod 755 /tmp/bin/podman
sh images.sh asuser podman import -
asuser podman system service --time 0 >/tmp/podman.log 2>&1 &
until test -S $XDG_RUNTIME_DIR/podman/podman.sock; do sleep 0.05; done
echo ready
wait
