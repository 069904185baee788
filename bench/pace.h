/*
 * The measuring loop that both clients share.
 *
 * Joins the group "latency"; when it has COMPLETE members, a SENDING (1) one multicasts COUNT messages of SIZE bytes,
 * RATE in a second (0: as many as it can), each with its sending time; all write the nanoseconds from sending to delivery
 * to OUT, one a line, and print those from the first sending to the last delivery.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GROUP "latency"
#define SIZE_MAX_BYTES 65536
#define BURST 50

static FILE *out;
static size_t complete, size;
static long count, delivered;
static int64_t first_sent;
static int ready;

/* What each client defines. Each returns 0, or -1 if there is no going on. */
static int join_group(int *descriptor);
static int multicast(const void *message); /* 1: queued; 0: try again */
static int dispatch(void);

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void on_members(size_t members)
{
	if (members >= complete)
		ready = 1;
}

static void on_message(const void *data)
{
	int64_t sent;
	memcpy(&sent, data, sizeof(sent));
	if (!delivered++)
		first_sent = sent;
	fprintf(out, "%lld\n", (long long)(now_ns() - sent));
}

/* argv: COMPLETE COUNT RATE SIZE SENDING OUT */
static int measure(char **argv)
{
	complete = strtoul(argv[0], NULL, 10);
	count = strtol(argv[1], NULL, 10);
	long rate = strtol(argv[2], NULL, 10);
	int64_t interval_ns = rate ? 1000000000LL / rate : 0;
	size = strtoul(argv[3], NULL, 10);
	int sending = atoi(argv[4]);
	out = fopen(argv[5], "w");
	struct pollfd wait = {.events = POLLIN};
	if (!out || size < sizeof(int64_t) || size > SIZE_MAX_BYTES || join_group(&wait.fd) < 0)
		return 1;

	char message[SIZE_MAX_BYTES] = {0};
	long sent = 0;
	int64_t next = 0;
	while (delivered < count) {
		int64_t now = now_ns();
		struct timespec pause = {1, 0};
		if (sending && ready && sent < count) {
			if (!next)
				next = now + 200000000;
			for (int burst = 0; now >= next && sent < count && burst < (rate ? 1 : BURST); burst++) {
				memcpy(message, &now, sizeof(now));
				int queued = multicast(message);
				if (queued < 0)
					return 1;
				if (!queued)
					break;
				sent++;
				next += interval_ns;
				now = now_ns();
			}
			int64_t rest = next > now ? next - now : 0;
			pause = (struct timespec){rest / 1000000000, rest % 1000000000};
		}
		if (ppoll(&wait, 1, &pause, NULL) > 0 && dispatch() < 0)
			return 1;
	}
	printf("%lld\n", (long long)(now_ns() - first_sent));
	return fclose(out) ? 1 : 0;
}
