/*
 * The loop that the loading clients share: join a group, wait until it is complete, send, record.
 *
 * Arguments: GROUP INDEX MEMBERS SENDERS SIZE RATE SECONDS LIMIT PID OUT
 *
 * The group's members with an INDEX (from 0) below SENDERS send messages of SIZE bytes for SECONDS, RATE a second all of
 * them together (0: as fast as the daemon takes them), and then a last one that says so. A member ends when it has all
 * senders' last ones; it fails after LIMIT seconds, when a message is missing, repeated or out of order, and when the
 * group changes meanwhile. PID is the daemon's: its processor time is read when the group is complete and at the end.
 *
 * Prints one line of key=value: sent, again (refusals to take a message), delivered, first_sent and last_delivered
 * (CLOCK_MONOTONIC, ns), cpu (of the daemon, ns), order (a hash of the senders and numbers in their order).
 * With a RATE, OUT gets three int64 for each message in the order of delivery: sender, sent, delivered. They are kept in
 * memory until the end, and the memory is touched before the beginning.
 */
#include "process.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define ARGUMENTS 10
#define SIZE_MAX_BYTES (1 << 20)
#define SENDERS_MAX 128
#define BURST 50
#define BURST_BYTES 65536
#define PAUSE_NS 200000000LL /* between the group's completion and the first message */
#define RETRY_NS 200000LL    /* after a refusal, if nothing is delivered earlier */

enum kind { DATA = 1, LAST = 2 };

struct head {
	uint32_t kind, sender;
	int64_t number, sent;
};

struct record {
	int64_t sender, sent, delivered;
};

static const char *group_name;
static size_t members, senders, size;
static long rate;
static struct record *records;
static long capacity, sent, refused, delivered;
static int64_t expected[SENDERS_MAX], first_sent, last_delivered, cpu_before;
static uint64_t order = 14695981039346656037ULL;
static size_t ended;
static int ready;

/* What each client defines. */
static int join_group(int *descriptor);			  /* 0, or -1 if there is no going on */
static int multicast(const void *message, size_t length); /* 1: taken; 0: refused for now; -1: failed */
static int flush(void);					  /* 1: more to write when writable; 0: all is written; -1 */
static int dispatch(void);				  /* 0 or -1 */

static void fail(const char *reason)
{
	printf("%s (sent %ld, refused %ld, delivered %ld)\n", reason, sent, refused, delivered);
	fflush(stdout);
	_exit(2);
}

static void on_alarm(int number)
{
	(void)number;
	fail(ready ? "not all was delivered in time" : "the group was not complete in time");
}

static void on_members(size_t count)
{
	if (ready && count < members && ended < senders)
		fail("the group lost a member");
	if (!ready && count >= members) {
		ready = 1;
		cpu_before = process_cpu_ns();
	}
}

static void on_message(const void *data, size_t length)
{
	struct head head;
	int64_t now = now_ns();
	if (length < sizeof(head))
		fail("a message is too short");
	memcpy(&head, data, sizeof(head));
	if (head.sender >= senders || expected[head.sender]++ != head.number)
		fail("a message is missing, repeated or out of order");
	if (head.kind == LAST) {
		ended++;
		return;
	}
	if (length != size)
		fail("a message has another length");
	order = (order ^ (uint64_t)head.sender << 48 ^ head.number) * 1099511628211ULL;
	if (!delivered || head.sent < first_sent)
		first_sent = head.sent;
	last_delivered = now;
	if (delivered < capacity)
		records[delivered] = (struct record){head.sender, head.sent, now};
	delivered++;
}

static int write_records(const char *path)
{
	long count = delivered < capacity ? delivered : capacity;
	FILE *out = fopen(path, "w");
	if (!out || fwrite(records, sizeof(*records), count, out) != (size_t)count)
		return 1;
	return fclose(out) ? 1 : 0;
}

/* argv: what is said at the top of this file. Returns the program's exit status. */
static int measure(char **argv)
{
	group_name = argv[0];
	size_t index = strtoul(argv[1], NULL, 10);
	members = strtoul(argv[2], NULL, 10);
	senders = strtoul(argv[3], NULL, 10);
	size = strtoul(argv[4], NULL, 10);
	rate = strtol(argv[5], NULL, 10);
	double seconds = strtod(argv[6], NULL);
	watched_pid = atoi(argv[8]);
	struct pollfd wait = {0};
	if (size < sizeof(struct head) || size > SIZE_MAX_BYTES || senders < 1 || senders > SENDERS_MAX)
		return 1;

	/* Each sender its share, their turns spread evenly. */
	int64_t interval_ns = rate ? 1000000000LL * senders / rate : 0;
	long count = rate ? (long)(rate * seconds / senders) : 0;
	if (rate && count < 1)
		count = 1;
	capacity = count * senders;
	if (capacity && !(records = malloc(capacity * sizeof(*records))))
		return 1;
	if (records)
		memset(records, 1, capacity * sizeof(*records));
	char *message = calloc(1, size);
	signal(SIGALRM, on_alarm);
	alarm(atoi(argv[7]));
	if (!message || join_group(&wait.fd) < 0)
		fail("cannot join");

	int sending = index < senders, blocked = 0, unwritten = 0;
	int most = size * BURST <= BURST_BYTES ? BURST : size < BURST_BYTES ? BURST_BYTES / size : 1;
	int64_t next = 0, until = 0;
	while (ended < senders) {
		int64_t now = now_ns(), rest = 1000000000LL;
		if (sending && ready) {
			if (!next) {
				next = now + PAUSE_NS + interval_ns * (int64_t)index / (int64_t)senders;
				until = next + (int64_t)(seconds * 1e9);
			}
			blocked = 0;
			for (int burst = 0; now >= next && sending && !blocked && burst < most; burst++) {
				int last = rate ? sent == count : now >= until;
				struct head head = {last ? LAST : DATA, index, sent, now};
				memcpy(message, &head, sizeof(head));
				int taken = multicast(message, last ? sizeof(head) : size);
				if (taken < 0)
					fail("a message was refused for good");
				blocked = !taken;
				refused += blocked;
				if (taken && last)
					sending = 0;
				else if (taken)
					sent++, next += interval_ns;
				now = now_ns();
			}
			if ((unwritten = flush()) < 0)
				fail("cannot write");
			if (blocked)
				rest = RETRY_NS;
			else if (sending)
				rest = next > now ? next - now : 0;
			/* With real-time priority it would else keep the other clients off until its slice ends. */
			if (!rate)
				sched_yield();
		}
		wait.events = POLLIN | (unwritten ? POLLOUT : 0);
		struct timespec pause = {rest / 1000000000, rest % 1000000000};
		if (ppoll(&wait, 1, &pause, NULL) <= 0)
			continue;
		if (unwritten && wait.revents & POLLOUT && (unwritten = flush()) < 0)
			fail("cannot write");
		if (wait.revents & ~POLLOUT && dispatch() < 0)
			fail("cannot read");
	}
	int64_t cpu = process_cpu_ns() - cpu_before;
	if (records && write_records(argv[9]))
		fail("cannot write the records");
	printf("sent=%ld again=%ld delivered=%ld first_sent=%lld last_delivered=%lld cpu=%lld order=%llu\n", sent, refused,
	       delivered, (long long)first_sent, (long long)last_delivered, (long long)cpu, (unsigned long long)order);
	return 0;
}
