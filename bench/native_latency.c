/*
 * Latency of ordered delivery through totemd's native socket (protocol/, chapter "Native socket"). It understands of
 * msgpack just what the daemon is known to send, and ends when anything is refused.
 *
 *   native_latency SOCKET COMPLETE COUNT RATE SIZE SENDING OUT
 */
#include "pace.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>

#define HELLO "\x81\xa5hello\x82\xa8protocol\x01\xa6" "client\xa5" "bench"
#define JOIN "\x83\xa2id\x01\xa2" "do\xa8" "cpg_join\xa4with\x81\xa5group\xc4\x07" GROUP
#define MULTICAST "\x83\xa2id\x02\xa2" "do\xad" "cpg_multicast\xa4with\x82\xa5group\xc4\x07" GROUP "\xa4" "data\xc5"
#define EVENT "\x83\xa5" "event\xa7"

static const char *path;
static int connection;
static char input[1 << 20];
static size_t held;

static int write_frame(const char *head, size_t head_size, const void *tail, size_t tail_size)
{
	char frame[SIZE_MAX_BYTES + 256];
	uint32_t length = htonl(head_size + tail_size);
	memcpy(frame, &length, 4);
	memcpy(frame + 4, head, head_size);
	if (tail_size)
		memcpy(frame + 4 + head_size, tail, tail_size);
	size_t whole = 4 + head_size + tail_size;
	return send(connection, frame, whole, MSG_NOSIGNAL) == (ssize_t)whole ? 0 : -1;
}

static int take_frame(const char *body, size_t length)
{
	const char *found;
	if (length > 16 + size && !memcmp(body, EVENT "deliver", 15))
		on_message(body + length - size);
	else if (length > 16 && !memcmp(body, EVENT "members", 15) &&
		 (found = memmem(body + 15, length - 16, "\xa7members", 8)))
		on_members(found[8] & 15);
	return memmem(body, length < 24 ? length : 24, "\xa5" "error", 6) ? -1 : 0;
}

static int dispatch(void)
{
	ssize_t more = recv(connection, input + held, sizeof(input) - held, 0);
	if (more <= 0)
		return -1;
	held += more;
	size_t start = 0;
	while (held - start >= 4) {
		uint32_t length;
		memcpy(&length, input + start, 4);
		length = ntohl(length);
		if (length > sizeof(input) - 4)
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
	if (strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	*descriptor = connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	if (write_frame(HELLO, sizeof(HELLO) - 1, NULL, 0) < 0)
		return -1;
	return write_frame(JOIN, sizeof(JOIN) - 1, NULL, 0);
}

static int multicast(const void *message)
{
	char head[sizeof(MULTICAST) + 1] = MULTICAST;
	uint16_t length = htons(size);
	memcpy(head + sizeof(MULTICAST) - 1, &length, 2);
	return write_frame(head, sizeof(head), message, size) < 0 ? -1 : 1;
}

int main(int argc, char **argv)
{
	if (argc != 8)
		return 1;
	path = argv[1];
	return measure(argv + 2);
}
