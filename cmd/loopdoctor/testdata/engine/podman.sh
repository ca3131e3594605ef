# Starts a real Podman inside of the scenario's world: engine podman
# Its configuration is the world's own, so that a scenario, and a printed fix, just says
# podman. It has the images of images.sh.
set -e
# A cgroup namespace: what Podman makes at the root of its cgroups is the scenario's.
unshare -C mount -t cgroup2 none /sys/fs/cgroup
rm -f /etc/containers
mkdir -p /etc/containers /run/podman
cat >/etc/containers/containers.conf <<END
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
pids_limit = 0
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
END
cat >/etc/containers/storage.conf <<END
[storage]
driver = "vfs"
graphroot = "/tmp/podman"
runroot = "/run/containers"
END
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json
podman() { unshare -C /usr/bin/podman "$@"; }
printf '#!/bin/sh\nexec unshare -C /usr/bin/podman "$@"\n' >/tmp/bin/podman
chmod 755 /tmp/bin/podman
sh images.sh podman import -
podman system service --time 0 unix:///run/podman/podman.sock >/tmp/podman.log 2>&1 &
until test -S /run/podman/podman.sock; do sleep 0.05; done
echo ready
wait
