# Writes the configuration of Podman: no systemd, no limits that only a cgroup of version 1
# could keep here, and none above what this system's own processes may have.
set -e
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
printf '[storage]\ndriver = "vfs"\n%s' "$*" >/etc/containers/storage.conf
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json
