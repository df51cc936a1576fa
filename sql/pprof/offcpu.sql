-- Where did threads leave the CPU, and how long were they away: blocked or waiting for a CPU?
-- column: count, waits
-- column: offcpu_ns, from leaving the CPU to being back; a wait that never ended counts to the end of the recording
select [kstack, ustack] as stack, count(*) as count, sum(duration)::bigint as offcpu_ns, labels
from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
group by kstack, ustack, labels
