/*
 * The twin of recorder.py beside corosync, on libcpg: joins the group, multicasts all the time, writes down what it sees.
 *
 *   recorder_cpg NODEID FIRST_LIFE RATE_PER_S SEED OUT
 *
 * The lines are those of recorder.py, except that libcpg tells of no transitional configurations, of no quorum and, of
 * configurations, only after their synchronization. Each connection is a process of its own, so that each life has a
 * pid of its own; the parent counts lives and passes signals on.
 */
#include "../../lab/crc32.h"

#include <corosync/cpg.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RETRY_US 100000

struct tag {
	char magic[4];
	uint32_t life, number;
	uint8_t safe, zero[3];
};

static struct cpg_name group = {5, "chaos"};
static FILE *out;
static uint32_t life, own_node;
static int joined;
static volatile sig_atomic_t ended, sending = 1;
static volatile pid_t child;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void stamp(void)
{
	fprintf(out, "%.6f ", now());
}

static const char *reason_word(uint32_t reason)
{
	static const char *words[] = {"undefined", "join", "leave", "nodedown", "nodeup", "procdown"};
	return reason < 6 ? words[reason] : "unknown";
}

static void write_list(const struct cpg_address *list, size_t count, int reasons)
{
	fputc(' ', out);
	for (size_t i = 0; i < count; i++) {
		fprintf(out, "%s%u:%u", i ? "," : "", list[i].nodeid, list[i].pid);
		if (reasons)
			fprintf(out, ":%s", reason_word(list[i].reason));
	}
	if (!count)
		fputc('-', out);
}

static void on_change(cpg_handle_t handle, const struct cpg_name *name, const struct cpg_address *members,
		      size_t member_count, const struct cpg_address *left, size_t left_count,
		      const struct cpg_address *joining, size_t joining_count)
{
	(void)handle, (void)name;
	joined = 1;
	stamp();
	fputc('G', out);
	write_list(members, member_count, 0);
	write_list(joining, joining_count, 1);
	write_list(left, left_count, 1);
	fputc('\n', out);
}

static void on_deliver(cpg_handle_t handle, const struct cpg_name *name, uint32_t nodeid, uint32_t pid, void *data,
		       size_t length)
{
	(void)handle, (void)name;
	struct tag tag = {0};
	if (length >= sizeof(tag) && !memcmp(data, "chao", 4))
		memcpy(&tag, data, sizeof(tag));
	stamp();
	fprintf(out, "D %u %u %u %u %d %zu %08x\n", nodeid, pid, tag.life, tag.number, tag.safe, length,
		crc32_of(data, length));
}

static void on_configuration(cpg_handle_t handle, struct cpg_ring_id ring, uint32_t count, const uint32_t *members)
{
	(void)handle;
	stamp();
	fprintf(out, "C regular %u.%llu ", ring.nodeid, (unsigned long long)ring.seq);
	for (uint32_t i = 0; i < count; i++)
		fprintf(out, "%s%u", i ? "," : "", members[i]);
	fputs(" - -\n", out);
}

static uint64_t random_state;

static uint64_t draw(void)
{
	random_state += 0x9e3779b97f4a7c15u; /* splitmix64 */
	uint64_t z = random_state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static double chance(void)
{
	return ((double)(draw() >> 11) + 0.5) / 9007199254740992.0;
}

static size_t draw_size(void)
{
	double c = chance();
	double low = c < 0.70 ? 16 : c < 0.92 ? 300 : c < 0.995 ? 4000 : 60000;
	double high = c < 0.70 ? 300 : c < 0.92 ? 4000 : c < 0.995 ? 60000 : 300000;
	return (size_t)(low + chance() * (high - low));
}

static void on_end(int number)
{
	ended = 1;
	if (child > 0)
		kill(child, number);
}

static void on_usr(int number)
{
	sending = number == SIGUSR2;
	if (child > 0)
		kill(child, number);
}

static int lost(const char *what, cs_error_t status)
{
	stamp();
	fprintf(out, "X %s: %d\n", what, status);
	fclose(out);
	return 0;
}

/* One life, in a process of its own. */
static int live(double rate, const char *file, uint64_t seed)
{
	random_state = seed * 1000003u + life;
	cpg_handle_t handle;
	cpg_model_v1_data_t model = {
		.model = CPG_MODEL_V1,
		.cpg_deliver_fn = on_deliver,
		.cpg_confchg_fn = on_change,
		.cpg_totem_confchg_fn = on_configuration,
		.flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF,
	};
	int fd;
	cs_error_t status;
	while ((status = cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&model, NULL)) != CS_OK) {
		if (ended)
			return 0;
		usleep(RETRY_US);
	}
	out = fopen(file, "a");
	if (!out)
		return 1;
	setvbuf(out, NULL, _IOFBF, 65536);
	stamp();
	fprintf(out, "L %u %u %u -\n", life, (unsigned)getpid(), own_node);
	cpg_fd_get(handle, &fd);
	while ((status = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN && !ended)
		usleep(RETRY_US);
	if (status != CS_OK)
		return lost("cpg_join", status);
	static unsigned char message[400000];
	struct tag tag = {{'c', 'h', 'a', 'o'}, life, 0, 0, {0}};
	size_t length = 0;
	double due = now();
	while (!ended) {
		if (joined && sending && now() >= due) {
			if (!length) {
				length = sizeof(tag) + draw_size();
				for (size_t i = 0; i < length; i += 8) {
					uint64_t word = draw();
					memcpy(message + i, &word, 8);
				}
				memcpy(message, &tag, sizeof(tag));
			}
			stamp();
			fprintf(out, "A %u 0\n", tag.number);
			struct iovec piece = {message, length};
			status = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &piece, 1);
			if (status == CS_ERR_TRY_AGAIN) {
				stamp();
				fprintf(out, "R %u\n", tag.number);
				due = now() + 0.1;
			} else if (status != CS_OK) {
				return lost("cpg_mcast_joined", status);
			} else {
				stamp();
				fprintf(out, "K %u\n", tag.number++);
				length = 0;
				if (due < now() - 1.0 / rate)
					due = now() - 1.0 / rate;
				due += -log(chance()) / rate;
			}
		}
		double patience = joined && sending ? due - now() : 0.1;
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		if (poll(&wait, 1, patience < 0 ? 0 : patience > 0.1 ? 100 : (int)(patience * 1000) + 1) > 0) {
			status = cpg_dispatch(handle, CS_DISPATCH_ALL);
			if (status != CS_OK && status != CS_ERR_TRY_AGAIN)
				return lost("cpg_dispatch", status);
		} else {
			fflush(out);
		}
	}
	return lost("stopped", 0);
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fputs("arguments: NODEID FIRST_LIFE RATE_PER_S SEED OUT\n", stderr);
		return 64;
	}
	own_node = strtoul(argv[1], NULL, 10);
	life = strtoul(argv[2], NULL, 10);
	crc_init();
	signal(SIGTERM, on_end);
	signal(SIGUSR1, on_usr);
	signal(SIGUSR2, on_usr);
	for (; !ended; life++) {
		child = fork();
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			return live(atof(argv[3]), argv[5], strtoull(argv[4], NULL, 10));
		}
		int status;
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		child = 0;
		if (!ended)
			usleep(RETRY_US);
	}
	return 0;
}
