/* libcpg, call by call: see player.h. */
#include "player.h"

#include <corosync/cpg.h>
#include <sys/uio.h>
#include <time.h>

static uint64_t iterations[SLOTS];
static unsigned char *message;

/* FNV-1a, enough to tell messages apart. */
static uint32_t digest(const unsigned char *data, size_t length)
{
	uint32_t sum = 2166136261u;
	for (size_t i = 0; i < length; i++)
		sum = (sum ^ data[i]) * 16777619u;
	return sum;
}

static void name_of(struct cpg_name *group, const struct word *word)
{
	group->length = (uint32_t)word->length;
	memcpy(group->value, word->text, word->length < CPG_MAX_NAME_LENGTH ? word->length : CPG_MAX_NAME_LENGTH);
}

static void print_addresses(const char *title, const struct cpg_address *list, size_t count)
{
	printf(" %s[", title);
	for (size_t i = 0; i < count; i++)
		printf("%s%u:%u:%u", i ? " " : "", list[i].nodeid, list[i].pid, list[i].reason);
	putchar(']');
}

static uint64_t counted_bytes, counted_messages;
static uint32_t counted_digest;
static int counting;

static void on_deliver(cpg_handle_t handle, const struct cpg_name *group, uint32_t nodeid, uint32_t pid, void *data,
		       size_t length)
{
	if (counting) {
		counted_bytes += length;
		counted_messages++;
		counted_digest = counted_digest * 16777619u ^ digest(data, length);
		return;
	}
	printf("! message %d ", slot_of(handle));
	print_bytes(group->value, group->length);
	printf(" %u:%u %zu %08x\n", nodeid, pid, length, digest(data, length));
}

static void on_change(cpg_handle_t handle, const struct cpg_name *group, const struct cpg_address *members,
		      size_t member_count, const struct cpg_address *left, size_t left_count,
		      const struct cpg_address *joined, size_t joined_count)
{
	printf("! members %d ", slot_of(handle));
	print_bytes(group->value, group->length);
	print_addresses("", members, member_count);
	print_addresses("left", left, left_count);
	print_addresses("joined", joined, joined_count);
	putchar('\n');
}

static void on_ring(cpg_handle_t handle, struct cpg_ring_id ring, uint32_t count, const uint32_t *members)
{
	printf("! ring %d %u.%" PRIu64 " [", slot_of(handle), ring.nodeid, ring.seq);
	for (uint32_t i = 0; i < count; i++)
		printf("%s%u", i ? " " : "", members[i]);
	printf("]\n");
}

/* open S [old]: cpg_initialize. open S MODEL FLAGS CONTEXT: cpg_model_initialize. */
static void make_open(struct slot *slot, int count, struct word *words)
{
	cs_error_t status;
	int fd = -1;
	cpg_model_v1_data_t model = {CPG_MODEL_V1, on_deliver, on_change, on_ring, (unsigned int)number(&words[1])};
	cpg_callbacks_t callbacks = {on_deliver, on_change};

	if (count == 0)
		status = cpg_initialize(&slot->handle, &callbacks);
	else
		status = cpg_model_initialize(&slot->handle, (cpg_model_t)number(&words[0]), (cpg_model_data_t *)&model,
					      (void *)(uintptr_t)number(&words[2]));
	if (status == CS_OK)
		cpg_fd_get(slot->handle, &fd);
	opened(slot, status, fd);
	result(status, "");
}

static void make_close(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	closed(slot);
	result(cpg_finalize(slot->handle), "");
}

static void make_join(struct slot *slot, int count, struct word *words)
{
	struct cpg_name group;
	cs_error_t status;
	(void)count;
	name_of(&group, &words[0]);
	for (int tries = 0; (status = cpg_join(slot->handle, &group)) == CS_ERR_TRY_AGAIN && tries < 500; tries++)
		usleep(10000);
	result(status, "");
}

static void make_leave(struct slot *slot, int count, struct word *words)
{
	struct cpg_name group;
	cs_error_t status;
	(void)count;
	name_of(&group, &words[0]);
	for (int tries = 0; (status = cpg_leave(slot->handle, &group)) == CS_ERR_TRY_AGAIN && tries < 500; tries++)
		usleep(10000);
	result(status, "");
}

static cs_error_t multicast(struct slot *slot, size_t length, unsigned int seed, int pieces)
{
	struct iovec list[16];
	cs_error_t status;
	size_t at = 0;

	for (size_t i = 0; i < length; i++)
		message[i] = (unsigned char)(seed + i * 31 + (i >> 8) * 7);
	for (int i = 0; i < pieces; i++) {
		size_t end = length * (size_t)(i + 1) / (size_t)pieces;
		list[i] = (struct iovec){message + at, end - at};
		at = end;
	}
	while ((status = cpg_mcast_joined(slot->handle, CPG_TYPE_AGREED, list, (unsigned int)pieces)) == CS_ERR_TRY_AGAIN) {
		if (slot->automatic)
			cpg_dispatch(slot->handle, CS_DISPATCH_ALL);
		usleep(1000);
	}
	return status;
}

/* send S LENGTH SEED [PIECES] */
static void make_send(struct slot *slot, int count, struct word *words)
{
	result(multicast(slot, number(&words[0]), (unsigned int)number(&words[1]), count > 2 ? (int)number(&words[2]) : 1), "");
}

/* burst S COUNT LENGTH: until all are taken */
static void make_burst(struct slot *slot, int count, struct word *words)
{
	cs_error_t status = CS_OK;
	(void)count;
	for (uint64_t i = 0; i < number(&words[0]) && status == CS_OK; i++)
		status = multicast(slot, number(&words[1]), (unsigned int)i, 1);
	result(status, "");
}

/* flood S LENGTH MOST: send without reading until TRY_AGAIN comes for a whole second, or MOST were taken */
static void make_flood(struct slot *slot, int count, struct word *words)
{
	struct iovec piece = {message, number(&words[0])};
	uint64_t sent = 0, most = number(&words[1]);
	cs_error_t status = CS_OK;
	int refused = 0, ever = 0;
	(void)count;
	while (sent < most && refused < 1000) {
		status = cpg_mcast_joined(slot->handle, CPG_TYPE_AGREED, &piece, 1);
		if (status == CS_OK) {
			sent++;
			refused = 0;
		} else if (status == CS_ERR_TRY_AGAIN) {
			ever = 1;
			refused++;
			usleep(1000);
		} else {
			break;
		}
	}
	result(status == CS_ERR_TRY_AGAIN ? CS_OK : status, "refused %d", ever);
	fprintf(stderr, "flood: %" PRIu64 " messages\n", sent);
}

/* count S LENGTH: write down no messages any more, until "counted". */
static void make_count(struct slot *slot, int count, struct word *words)
{
	(void)slot, (void)count, (void)words;
	counting = 1;
	counted_bytes = counted_messages = 0;
	counted_digest = 0;
	result(CS_OK, "");
}

/* counted S MESSAGES: wait until so many have come */
static void make_counted(struct slot *slot, int count, struct word *words)
{
	cs_error_t status = CS_OK;
	time_t end = time(NULL) + 60;
	(void)count;
	while (counted_messages < number(&words[0]) && time(NULL) < end && status == CS_OK) {
		struct pollfd wait = {.fd = slot->fd, .events = POLLIN};
		if (poll(&wait, 1, 100) > 0)
			status = cpg_dispatch(slot->handle, CS_DISPATCH_ALL);
		if (status == CS_ERR_TRY_AGAIN)
			status = CS_OK;
	}
	result(status, "%" PRIu64 " messages %" PRIu64 " bytes %08x", counted_messages, counted_bytes, counted_digest);
	counting = 0;
}

static void make_members(struct slot *slot, int count, struct word *words)
{
	struct cpg_address list[CPG_MEMBERS_MAX];
	struct cpg_name group;
	int found = CPG_MEMBERS_MAX;
	(void)count;
	name_of(&group, &words[0]);
	memset(list, 0, sizeof(list));
	cs_error_t status = cpg_membership_get(slot->handle, &group, list, &found);
	printf("= %d", status);
	if (status == CS_OK)
		print_addresses("", list, (size_t)found);
	putchar('\n');
}

static void make_local(struct slot *slot, int count, struct word *words)
{
	unsigned int nodeid = 0;
	(void)count, (void)words;
	cs_error_t status = cpg_local_get(slot->handle, &nodeid);
	result(status, "%u", nodeid);
}

static void make_limit(struct slot *slot, int count, struct word *words)
{
	uint32_t size = 0;
	(void)count, (void)words;
	cs_error_t status = cpg_max_atomic_msgsize_get(slot->handle, &size);
	result(status, "%u", size);
}

static void make_flow(struct slot *slot, int count, struct word *words)
{
	cpg_flow_control_state_t state = 9;
	(void)count, (void)words;
	cs_error_t status = cpg_flow_control_state_get(slot->handle, &state);
	result(status, "%d", state);
}

/* context S [VALUE]: set, or get */
static void make_context(struct slot *slot, int count, struct word *words)
{
	void *context = NULL;
	cs_error_t status;
	if (count)
		status = cpg_context_set(slot->handle, (void *)(uintptr_t)number(&words[0]));
	else
		status = cpg_context_get(slot->handle, &context);
	result(status, "%" PRIuPTR, (uintptr_t)context);
}

/* iterate S TYPE [GROUP]: from beginning to end */
static void make_iterate(struct slot *slot, int count, struct word *words)
{
	struct cpg_iteration_description_t entry;
	struct cpg_name group;
	cpg_iteration_handle_t iteration;
	name_of(&group, &words[1]);
	cs_error_t status = cpg_iteration_initialize(slot->handle, (cpg_iteration_type_t)number(&words[0]),
						     count > 1 ? &group : NULL, &iteration);
	printf("= %d", status);
	if (status == CS_OK) {
		while ((status = cpg_iteration_next(iteration, &entry)) == CS_OK) {
			printf(" [");
			print_bytes(entry.group.value, entry.group.length);
			printf(" %u:%u]", entry.nodeid, entry.pid);
		}
		printf(" %d", status);
		printf(" %d", cpg_iteration_next(iteration, &entry));
		printf(" %d", cpg_iteration_finalize(iteration));
		printf(" %d", cpg_iteration_next(iteration, &entry));
		printf(" %d", cpg_iteration_finalize(iteration));
	}
	putchar('\n');
}

/* iteration S: begin one of all groups and keep it; next S: one step of it */
static void make_iteration(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	result(cpg_iteration_initialize(slot->handle, CPG_ITERATION_ALL, NULL, &iterations[number_of(slot)]), "");
}

static void make_next(struct slot *slot, int count, struct word *words)
{
	struct cpg_iteration_description_t entry;
	(void)count, (void)words;
	cs_error_t status = cpg_iteration_next(iterations[number_of(slot)], &entry);
	printf("= %d", status);
	if (status == CS_OK) {
		putchar(' ');
		print_bytes(entry.group.value, entry.group.length);
		printf(" %u:%u", entry.nodeid, entry.pid);
	}
	putchar('\n');
}

/* zero_copy S LENGTH SEED */
static void make_zero_copy(struct slot *slot, int count, struct word *words)
{
	size_t length = number(&words[0]);
	unsigned int seed = (unsigned int)number(&words[1]);
	unsigned char *buffer = NULL;
	(void)count;
	cs_error_t status = cpg_zcb_alloc(slot->handle, length, (void **)&buffer);
	printf("= %d", status);
	if (status == CS_OK) {
		for (size_t i = 0; i < length; i++)
			buffer[i] = (unsigned char)(seed + i * 31 + (i >> 8) * 7);
		do
			status = cpg_zcb_mcast_joined(slot->handle, CPG_TYPE_AGREED, buffer, length);
		while (status == CS_ERR_TRY_AGAIN && usleep(1000) == 0);
		printf(" %d", status);
		printf(" %d", cpg_zcb_free(slot->handle, buffer));
	}
	putchar('\n');
}

static cs_error_t library_dispatch(struct slot *slot, cs_dispatch_flags_t mode)
{
	return cpg_dispatch(slot->handle, mode);
}

static const struct call calls[] = {
	{"open", make_open},	     {"close", make_close},	{"join", make_join},	   {"leave", make_leave},
	{"send", make_send},	     {"burst", make_burst},	{"flood", make_flood},	   {"count", make_count},
	{"counted", make_counted},   {"members", make_members}, {"local", make_local},	   {"limit", make_limit},
	{"flow", make_flow},	     {"context", make_context}, {"iterate", make_iterate}, {"iteration", make_iteration},
	{"next", make_next},	     {"zero_copy", make_zero_copy}, {NULL, NULL},
};

int main(void)
{
	message = malloc(8 << 20);
	return message ? play() : 1;
}
