/*
 * Latency of ordered delivery through libcpg: bench/latency_client.py is the same program for totemd.
 *
 *   cpg_latency COMPLETE COUNT RATE SIZE SENDING OUT
 *
 * Joins the group "latency"; when it has COMPLETE members, a SENDING (1) one multicasts COUNT messages of SIZE bytes,
 * RATE in a second, each with its sending time; all write the nanoseconds from sending to delivery to OUT, one a line.
 */
#define _GNU_SOURCE
#include <corosync/cpg.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct cpg_name group = {7, "latency"};
static FILE *out;
static size_t complete;
static long count, delivered;
static int ready;

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void on_change(cpg_handle_t handle, const struct cpg_name *name, const struct cpg_address *members,
		      size_t member_count, const struct cpg_address *left, size_t left_count,
		      const struct cpg_address *joined, size_t joined_count)
{
	(void)handle, (void)name, (void)members, (void)left, (void)left_count, (void)joined, (void)joined_count;
	if (member_count >= complete)
		ready = 1;
}

static void on_deliver(cpg_handle_t handle, const struct cpg_name *name, uint32_t nodeid, uint32_t pid, void *data,
		       size_t length)
{
	(void)handle, (void)name, (void)nodeid, (void)pid, (void)length;
	int64_t sent;
	memcpy(&sent, data, sizeof(sent));
	fprintf(out, "%lld\n", (long long)(now_ns() - sent));
	delivered++;
}

int main(int argc, char **argv)
{
	if (argc != 7)
		return 1;
	complete = strtoul(argv[1], NULL, 10);
	count = strtol(argv[2], NULL, 10);
	int64_t interval_ns = 1000000000LL / strtol(argv[3], NULL, 10);
	size_t size = strtoul(argv[4], NULL, 10);
	int sending = atoi(argv[5]);
	out = fopen(argv[6], "w");

	cpg_handle_t handle;
	cpg_callbacks_t callbacks = {.cpg_deliver_fn = on_deliver, .cpg_confchg_fn = on_change};
	cs_error_t status;
	if (!out || cpg_initialize(&handle, &callbacks) != CS_OK)
		return 1;
	while ((status = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN)
		usleep(10000);
	if (status != CS_OK)
		return 1;
	struct pollfd wait = {.events = POLLIN};
	cpg_fd_get(handle, &wait.fd);

	char message[65536] = {0};
	long sent = 0;
	int64_t next = 0;
	while (delivered < count) {
		int64_t now = now_ns();
		struct timespec pause = {1, 0};
		if (sending && ready && sent < count) {
			if (!next)
				next = now + 200000000;
			if (now >= next) {
				struct iovec piece = {message, size};
				memcpy(message, &now, sizeof(now));
				if (cpg_mcast_joined(handle, CPG_TYPE_AGREED, &piece, 1) == CS_OK) {
					sent++;
					next += interval_ns;
				}
				now = now_ns();
			}
			int64_t rest = next > now ? next - now : 0;
			pause = (struct timespec){rest / 1000000000, rest % 1000000000};
		}
		if (ppoll(&wait, 1, &pause, NULL) > 0)
			cpg_dispatch(handle, CS_DISPATCH_ALL);
	}
	fclose(out);
	cpg_finalize(handle);
	return 0;
}
