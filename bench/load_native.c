/*
 * The loading client on totemd's native socket (protocol/, chapter "Native socket"); load.h says what it does with its
 * arguments after the first, the socket's path. It understands of msgpack just what the daemon is known to send, and
 * ends when anything is refused.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#define HELLO "\x81\xa5hello\x82\xa8protocol\x01\xa6" "client\xa5" "bench"
#define JOIN "\x83\xa2id\x01\xa2" "do\xa8" "cpg_join\xa4with\x81\xa5group"
#define MULTICAST "\x83\xa2id\x02\xa2" "do\xad" "cpg_multicast\xa4with\x82\xa5group"
#define DATA_KEY "\xa4" "data"
#define EVENT "\x83\xa5" "event\xa7"
#define HEAD_MAX 256 /* of a delivered frame, in front of its message */
#define ROOM_MAX (4 << 20)

/* Own messages under way at most. The daemon refuses what finds its queue full; that would come too late for what was
   sent behind it, and the order would not be kept. */
#define WINDOW_BYTES (2 << 20)
#define WINDOW_MESSAGES 4000

static const char *path;
static int connection;
static char *input, *output;
static size_t held, unsent;
static long taken_count;
static size_t own_index;

/* Appends to the output. */
static void put(const void *data, size_t length)
{
	memcpy(output + unsent, data, length);
	unsent += length;
}

#define PUT(text) put(text, sizeof(text) - 1)

static void put_group(void)
{
	unsigned char head[2] = {0xc4, strlen(group_name)};
	put(head, 2);
	put(group_name, head[1]);
}

/* Fills in a frame's length; it began at `start`. */
static void end_frame(size_t start)
{
	uint32_t length = htonl(unsent - start - 4);
	memcpy(output + start, &length, 4);
}

static int flush(void)
{
	size_t done = 0;
	while (done < unsent) {
		ssize_t written = send(connection, output + done, unsent - done, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (written < 0 && errno != EAGAIN)
			return -1;
		if (written < 0)
			break;
		done += written;
	}
	memmove(output, output + done, unsent -= done);
	return unsent > 0;
}

static uint32_t number_of(const unsigned char *bytes, int width)
{
	uint32_t value = 0;
	while (width--)
		value = value << 8 | *bytes++;
	return value;
}

static int take_delivery(const char *body, size_t length)
{
	/* The outer "data" is a map, the inner one bytes. */
	const char *key = memmem(body, length < 40 ? length : 40, DATA_KEY, 5);
	if (key)
		key = memmem(key + 5, length < HEAD_MAX ? length - 40 : HEAD_MAX - 40, DATA_KEY, 5);
	const unsigned char *value = (const unsigned char *)key + 5;
	if (!key || key + 10 > body + length || *value < 0xc4 || *value > 0xc6)
		return -1;
	int width = *value == 0xc4 ? 1 : *value == 0xc5 ? 2 : 4;
	size_t count = number_of(value + 1, width);
	const char *data = (const char *)value + 1 + width;
	if (data + count > body + length)
		return -1;
	on_message(data, count);
	return 0;
}

static int take_frame(const char *body, size_t length)
{
	const char *found;
	if (length > 24 && !memcmp(body, EVENT "deliver", 15))
		return take_delivery(body, length);
	if (length > 24 && !memcmp(body, EVENT "members", 15) &&
	    (found = memmem(body + 15, length - 18, "\xa7members", 8))) {
		const unsigned char *list = (const unsigned char *)found + 8;
		on_members(*list == 0xdc ? number_of(list + 1, 2) : *list & 15u);
	}
	return memmem(body, length < 24 ? length : 24, "\xa5" "error", 6) ? -1 : 0;
}

static int dispatch(void)
{
	ssize_t more = recv(connection, input + held, ROOM_MAX - held, MSG_DONTWAIT);
	if (more < 0 && errno == EAGAIN)
		return 0;
	if (more <= 0)
		return -1;
	held += more;
	size_t start = 0;
	while (held - start >= 4) {
		size_t length = number_of((unsigned char *)input + start, 4);
		if (length > ROOM_MAX - 4)
			return -1;
		if (held - start - 4 < length)
			break;
		if (take_frame(input + start + 4, length) < 0)
			return -1;
		start += 4 + length;
	}
	memmove(input, input + start, held -= start);
	return 0;
}

static int join_group(int *descriptor)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	input = malloc(ROOM_MAX);
	output = malloc(ROOM_MAX);
	if (!input || !output || strlen(group_name) > 100 || strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	*descriptor = connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	PUT("\0\0\0\0" HELLO);
	end_frame(0);
	size_t start = unsent;
	PUT("\0\0\0\0" JOIN);
	put_group();
	end_frame(start);
	return flush();
}

static int multicast(const void *message, size_t length)
{
	if (unsent + length + HEAD_MAX > ROOM_MAX)
		return -1;
	long under_way = taken_count - expected[own_index];
	if (under_way >= WINDOW_MESSAGES || (under_way && (under_way + 1) * size > WINDOW_BYTES) || unsent >= WINDOW_BYTES)
		return 0;
	taken_count++;
	size_t start = unsent;
	PUT("\0\0\0\0" MULTICAST);
	put_group();
	PUT(DATA_KEY);
	unsigned char head[5] = {0xc6, length >> 24, length >> 16, length >> 8, length};
	put(head, sizeof(head));
	put(message, length);
	end_frame(start);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != ARGUMENTS + 2)
		return 1;
	path = argv[1];
	own_index = strtoul(argv[3], NULL, 10);
	return measure(argv + 2);
}
