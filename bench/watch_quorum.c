/*
 * Says when a daemon's view of its cluster changes, through libquorum.
 *
 *   watch_quorum FILE INTERVAL
 *
 * Waits until the daemon serves, then prints for the present view and each later one a line "TIME CPU MEMBERS...":
 * CLOCK_MONOTONIC and the processor time that the daemon has used so far, in nanoseconds, and the members' node ids.
 * FILE has the daemon's process id, at the latest when it has a view. While nobody serves it asks again every INTERVAL
 * microseconds. Ends with the daemon.
 */
#include "process.h"

#include <corosync/quorum.h>
#include <unistd.h>

static const char *pid_file;

static void on_change(quorum_handle_t handle, uint32_t quorate, uint64_t ring, uint32_t count, uint32_t *members)
{
	(void)handle, (void)quorate, (void)ring;
	FILE *file = fopen(pid_file, "r");
	if (file && fscanf(file, "%d", &watched_pid) != 1)
		watched_pid = 0;
	if (file)
		fclose(file);
	printf("%lld %lld", (long long)now_ns(), (long long)process_cpu_ns());
	for (uint32_t index = 0; index < count; index++)
		printf(" %u", members[index]);
	puts("");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	quorum_callbacks_t callbacks = {on_change};
	quorum_handle_t handle;
	uint32_t type;
	if (argc != 3)
		return 1;
	useconds_t interval = atoi(argv[2]);
	pid_file = argv[1];
	while (quorum_initialize(&handle, &callbacks, &type) != CS_OK)
		usleep(interval);
	while (quorum_trackstart(handle, CS_TRACK_CURRENT | CS_TRACK_CHANGES) != CS_OK)
		usleep(interval);
	quorum_dispatch(handle, CS_DISPATCH_BLOCKING);
	return 0;
}
