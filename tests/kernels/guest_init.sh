#!/bin/busybox sh
# A guest's process 1, in the initramfs. Mounts the root image (vda), unpacks the code disk (vdb, a tar), runs
# run.sh of it inside the root, and writes /tmp/out as a tar to the result disk (vdc). Then the guest powers off.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root LANG=C.UTF-8
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module"; done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 100 ]; do
  sleep 0.1
  tries=$((tries + 1))
done
mount -t ext4 /dev/vda /root || poweroff -f
cd /root
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs tmp tmp
mount -t tmpfs run run
mount -t devtmpfs dev dev
mount -t cgroup2 cgroup sys/fs/cgroup
mkdir -p tmp/out tmp/code dev/shm
mount -t tmpfs shm dev/shm
ifconfig lo 127.0.0.1 up
tar xf dev/vdb -C tmp/code
# Emulated, a masked load of AVX2 faults on the lanes it leaves out; NumPy does such loads at the end of a mapping.
export NPY_DISABLE_CPU_FEATURES=X86_V3
: >tmp/out/log
tail -f tmp/out/log >/dev/ttyS0 & # for a guest that runs out of time
PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /bin/sh -c 'cd /tmp/code && exec sh ./run.sh' >tmp/out/log 2>&1 </dev/null
echo $? >tmp/out/status
dmesg >tmp/out/dmesg
tar cf dev/vdc -C tmp/out .
sync
poweroff -f
