# Starts a real Podman of root inside of the scenario's world: engine podman
# It has the images of images.sh. Its configuration is the world's own, so that a
# scenario, and a printed fix, just says podman.
set -e
# What Podman makes at the root of its cgroups has to be in the scenario's.
unshare -C mount -t cgroup2 none /sys/fs/cgroup
printf '#!/bin/sh\nexec unshare -C /usr/bin/podman "$@"\n' >/tmp/bin/podman
chmod 755 /tmp/bin/podman
rm -f /etc/containers
mkdir -p /etc/containers /run/podman
sh podman-conf.sh 'graphroot = "/tmp/podman"
runroot = "/run/containers"
'
sh images.sh podman import -
podman system service --time 0 unix:///run/podman/podman.sock >/tmp/podman.log 2>&1 &
until test -S /run/podman/podman.sock; do sleep 0.05; done
echo ready
wait
