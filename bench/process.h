/*
 * The time, and the processor time of a daemon.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

static pid_t watched_pid;

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Of all threads of watched_pid, nanoseconds; 0 if it is gone. */
static int64_t process_cpu_ns(void)
{
	char path[300];
	int64_t sum = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", watched_pid);
	DIR *tasks = opendir(path);
	for (struct dirent *task; tasks && (task = readdir(tasks));) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", watched_pid, task->d_name);
		FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
		long long value;
		if (file && fscanf(file, "%lld", &value) == 1)
			sum += value;
		if (file)
			fclose(file);
	}
	if (tasks)
		closedir(tasks);
	return sum;
}
