/*
 * Says when each node of a network was first heard.
 *
 *   first_packets PORT
 *
 * Prints "ready", then for each address that sends to UDP port PORT a line "TIME ADDRESS" at its first packet, with the
 * kernel's time of it as CLOCK_MONOTONIC nanoseconds. It has to be stopped.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define ADDRESSES_MAX 256
#define BUFFER_BYTES (8 << 20)

static uint32_t known[ADDRESSES_MAX];
static int known_count;

static int64_t read_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int is_new(uint32_t address)
{
	for (int index = 0; index < known_count; index++)
		if (known[index] == address)
			return 0;
	if (known_count == ADDRESSES_MAX)
		return 0;
	known[known_count++] = address;
	return 1;
}

static void take(struct msghdr *message, const unsigned char *packet, ssize_t length, uint16_t port, int64_t offset)
{
	size_t head = (packet[0] & 15) * 4;
	uint32_t address;
	if (length < (ssize_t)head + 8 || packet[0] >> 4 != 4 || packet[9] != IPPROTO_UDP)
		return;
	memcpy(&address, packet + 12, 4);
	if ((packet[head + 2] << 8 | packet[head + 3]) != port || !is_new(address))
		return;
	int64_t time = read_ns(CLOCK_REALTIME);
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part))
		if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_TIMESTAMPNS) {
			struct timespec stamp;
			memcpy(&stamp, CMSG_DATA(part), sizeof(stamp));
			time = stamp.tv_sec * 1000000000LL + stamp.tv_nsec;
		}
	printf("%lld %s\n", (long long)(time + offset), inet_ntoa((struct in_addr){address}));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int capture = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP)), on = 1, room = BUFFER_BYTES;
	if (argc != 2 || capture < 0 || setsockopt(capture, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0)
		return 1;
	setsockopt(capture, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	int64_t offset = read_ns(CLOCK_MONOTONIC) - read_ns(CLOCK_REALTIME);
	puts("ready");
	fflush(stdout);
	for (;;) {
		unsigned char packet[128], control[128];
		struct iovec piece = {packet, sizeof(packet)};
		struct msghdr message = {
			.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
		ssize_t length = recvmsg(capture, &message, 0);
		if (length < 0)
			return 1;
		if (length >= 20)
			take(&message, packet, length, atoi(argv[1]), offset);
	}
}
