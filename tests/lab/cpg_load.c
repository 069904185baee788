/*
 * A process group's member for the tests, on libcpg: sends messages and writes down what is delivered.
 * tests/lab/totemd_lab/cpg_load.py is the same program for totemd; both write the same lines:
 *
 *   J                                      joined (the join's own membership change has arrived)
 *   S <length> <crc32>                     in the file of sent messages: one was accepted for sending
 *   C <nodeid>:<pid>,... +<..> -<..>       a membership change: members, joined, left, each ascending
 *   M <nodeid> <pid> <length> <crc32>      a message was delivered
 *
 * Recording begins with the membership change that makes the group complete, so that all members' files are
 * equal byte for byte when all saw the same sequence.
 *
 *   cpg_load GROUP COMPLETE SIZES EXPECTED SECONDS OUT SENT
 *
 * COMPLETE  members of the complete group; sending starts then
 * SIZES     file with one message length per line; all are sent, in this order
 * EXPECTED  deliveries after which recording ends (0: none does, run until SIGTERM)
 * Status 0: all arrived. 3: SECONDS passed before. 1: an error, on stderr.
 */
#include "crc32.h"

#include <corosync/cpg.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct cpg_name group;
static FILE *out, *sent;
static size_t complete;
static long expected, delivered;
static int recording, joined;
static volatile sig_atomic_t stop;

static void fail(const char *what, int status)
{
	fprintf(stderr, "cpg_load: %s: %d\n", what, status);
	exit(1);
}

static int by_address(const void *a, const void *b)
{
	const struct cpg_address *x = a, *y = b;
	if (x->nodeid != y->nodeid)
		return x->nodeid < y->nodeid ? -1 : 1;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static void write_list(const char *prefix, const struct cpg_address *list, size_t count)
{
	struct cpg_address sorted[CPG_MEMBERS_MAX];
	memcpy(sorted, list, count * sizeof(*list));
	qsort(sorted, count, sizeof(*sorted), by_address);
	fprintf(out, " %s", prefix);
	for (size_t i = 0; i < count; i++)
		fprintf(out, "%s%u:%u", i ? "," : "", sorted[i].nodeid, sorted[i].pid);
}

static void on_change(cpg_handle_t handle, const struct cpg_name *name, const struct cpg_address *members,
		      size_t member_count, const struct cpg_address *left, size_t left_count,
		      const struct cpg_address *joining, size_t joining_count)
{
	(void)handle, (void)name;
	joined = 1;
	if (member_count >= complete)
		recording = 1;
	if (!recording || (expected && delivered >= expected))
		return;
	fputc('C', out);
	write_list("", members, member_count);
	write_list("+", joining, joining_count);
	write_list("-", left, left_count);
	fputc('\n', out);
	fflush(out);
}

static void on_deliver(cpg_handle_t handle, const struct cpg_name *name, uint32_t nodeid, uint32_t pid, void *data,
		       size_t length)
{
	(void)handle, (void)name;
	if (!recording || (expected && delivered >= expected))
		return;
	fprintf(out, "M %u %u %zu %08x\n", nodeid, pid, length, crc32_of(data, length));
	delivered++;
	if (!expected)
		fflush(out);
}

static uint64_t random_state;

static void fill(unsigned char *data, size_t length)
{
	for (size_t i = 0; i < length; i += 8) {
		random_state += 0x9e3779b97f4a7c15u; /* splitmix64 */
		uint64_t z = random_state;
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		z ^= z >> 31;
		memcpy(data + i, &z, length - i < 8 ? length - i : 8);
	}
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void on_term(int number)
{
	(void)number;
	stop = 1;
}

/* Dispatches what has arrived, waiting at most that long for something to arrive. */
static void dispatch(cpg_handle_t handle, int fd, int timeout_ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	if (poll(&wait, 1, timeout_ms) > 0) {
		cs_error_t status = cpg_dispatch(handle, CS_DISPATCH_ALL);
		if (status != CS_OK && status != CS_ERR_TRY_AGAIN)
			fail("cpg_dispatch", status);
	}
}

int main(int argc, char **argv)
{
	if (argc != 8)
		fail("arguments: GROUP COMPLETE SIZES EXPECTED SECONDS OUT SENT", argc);
	group.length = snprintf(group.value, sizeof(group.value), "%s", argv[1]);
	complete = strtoul(argv[2], NULL, 10);
	FILE *sizes = fopen(argv[3], "r");
	expected = strtol(argv[4], NULL, 10);
	double deadline = now() + atof(argv[5]);
	out = fopen(argv[6], "w");
	sent = fopen(argv[7], "w");
	if (!sizes || !out || !sent)
		fail("open", 0);
	crc_init();
	signal(SIGTERM, on_term);

	cpg_handle_t handle;
	cpg_callbacks_t callbacks = {.cpg_deliver_fn = on_deliver, .cpg_confchg_fn = on_change};
	cs_error_t status;
	while ((status = cpg_initialize(&handle, &callbacks)) != CS_OK && now() < deadline)
		usleep(50000);
	if (status != CS_OK)
		fail("cpg_initialize", status);
	unsigned int nodeid;
	int fd;
	cpg_fd_get(handle, &fd);
	while ((status = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN && now() < deadline)
		usleep(10000);
	if (status != CS_OK)
		fail("cpg_join", status);
	cpg_local_get(handle, &nodeid);
	random_state = ((uint64_t)nodeid << 32) + getpid();
	while (!joined && !stop)
		dispatch(handle, fd, 100);
	puts("J");
	fflush(stdout);

	static unsigned char message[2000000];
	size_t length;
	int pending = 0;
	while (!stop && now() < deadline && (!expected || delivered < expected)) {
		while (recording && (pending || fscanf(sizes, "%zu", &length) == 1)) {
			if (!pending) {
				if (length > sizeof(message))
					fail("message too long", (int)length);
				fill(message, length);
			}
			struct iovec piece = {message, length};
			status = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &piece, 1);
			pending = status == CS_ERR_TRY_AGAIN;
			if (pending)
				break;
			if (status != CS_OK)
				fail("cpg_mcast_joined", status);
			fprintf(sent, "S %zu %08x\n", length, crc32_of(message, length));
		}
		dispatch(handle, fd, pending ? 1 : 100);
	}
	fclose(sent);
	fclose(out);
	cpg_leave(handle, &group);
	cpg_finalize(handle);
	return expected && delivered < expected ? 3 : 0;
}
