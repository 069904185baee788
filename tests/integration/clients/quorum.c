/* libquorum, call by call: see player.h. */
#include "player.h"

#include <corosync/quorum.h>

static void print_nodes(const char *title, const uint32_t *nodes, uint32_t count)
{
	printf(" %s[", title);
	for (uint32_t i = 0; i < count; i++)
		printf("%s%u", i ? " " : "", nodes[i]);
	putchar(']');
}

static void on_quorum0(quorum_handle_t handle, uint32_t quorate, uint64_t sequence, uint32_t count, uint32_t *nodes)
{
	printf("! quorum0 %d %u ring *.%" PRIu64, slot_of(handle), quorate, sequence);
	print_nodes("", nodes, count);
	putchar('\n');
}

static void on_quorum1(quorum_handle_t handle, uint32_t quorate, struct quorum_ring_id ring, uint32_t count,
		       const uint32_t *nodes)
{
	printf("! quorum1 %d %u ring %u.%" PRIu64, slot_of(handle), quorate, ring.nodeid, ring.seq);
	print_nodes("", nodes, count);
	putchar('\n');
}

static void on_nodes(quorum_handle_t handle, struct quorum_ring_id ring, uint32_t member_count, const uint32_t *members,
		     uint32_t joined_count, const uint32_t *joined, uint32_t left_count, const uint32_t *left)
{
	printf("! nodes %d ring %u.%" PRIu64, slot_of(handle), ring.nodeid, ring.seq);
	print_nodes("", members, member_count);
	print_nodes("joined", joined, joined_count);
	print_nodes("left", left, left_count);
	putchar('\n');
}

/* open S: quorum_initialize. open S MODEL CONTEXT: quorum_model_initialize. */
static void make_open(struct slot *slot, int count, struct word *words)
{
	quorum_callbacks_t callbacks = {on_quorum0};
	quorum_model_v0_data_t model0 = {QUORUM_MODEL_V0, on_quorum0};
	quorum_model_v1_data_t model1 = {QUORUM_MODEL_V1, on_quorum1, on_nodes};
	uint32_t type = 9;
	int fd = -1;
	cs_error_t status;
	quorum_model_t model = (quorum_model_t)number(&words[0]);

	if (count == 0)
		status = quorum_initialize(&slot->handle, &callbacks, &type);
	else
		status = quorum_model_initialize(
			&slot->handle, model,
			model == QUORUM_MODEL_V1 ? (quorum_model_data_t *)&model1 : (quorum_model_data_t *)&model0, &type,
			(void *)(uintptr_t)number(&words[1]));
	if (status == CS_OK)
		quorum_fd_get(slot->handle, &fd);
	opened(slot, status, fd);
	result(status, "type %u", status == CS_OK ? type : 9);
}

static void make_close(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	closed(slot);
	result(quorum_finalize(slot->handle), "");
}

static void make_quorate(struct slot *slot, int count, struct word *words)
{
	int quorate = 9;
	(void)count, (void)words;
	cs_error_t status = quorum_getquorate(slot->handle, &quorate);
	result(status, "%d", status == CS_OK ? quorate : 9);
}

static void make_track(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(quorum_trackstart(slot->handle, (unsigned int)number(&words[0])), "");
}

static void make_untrack(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	result(quorum_trackstop(slot->handle), "");
}

static void make_context(struct slot *slot, int count, struct word *words)
{
	const void *context = NULL;
	cs_error_t status;
	if (count)
		status = quorum_context_set(slot->handle, (const void *)(uintptr_t)number(&words[0]));
	else
		status = quorum_context_get(slot->handle, &context);
	result(status, "%" PRIuPTR, (uintptr_t)context);
}

static cs_error_t library_dispatch(struct slot *slot, cs_dispatch_flags_t mode)
{
	return quorum_dispatch(slot->handle, mode);
}

static const struct call calls[] = {
	{"open", make_open},   {"close", make_close},	  {"quorate", make_quorate}, {"track", make_track},
	{"untrack", make_untrack}, {"context", make_context}, {NULL, NULL},
};

int main(void)
{
	return play();
}
