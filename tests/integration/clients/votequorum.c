/* libvotequorum, call by call: see player.h. */
#include "player.h"

#include <corosync/votequorum.h>

static votequorum_ring_id_t last_ring;

static void on_quorum(votequorum_handle_t handle, uint64_t context, uint32_t quorate, uint32_t count,
		      votequorum_node_t *nodes)
{
	printf("! quorum %d context %" PRIu64 " %u [", slot_of(handle), context, quorate);
	for (uint32_t i = 0; i < count; i++)
		printf("%s%u:%u", i ? " " : "", nodes[i].nodeid, nodes[i].state);
	printf("]\n");
}

static void on_expected(votequorum_handle_t handle, uint64_t context, uint32_t expected)
{
	printf("! expected %d context %" PRIu64 " %u\n", slot_of(handle), context, expected);
}

static void on_nodes(votequorum_handle_t handle, uint64_t context, votequorum_ring_id_t ring, uint32_t count,
		     uint32_t *nodes)
{
	last_ring = ring;
	printf("! nodes %d context %" PRIu64 " ring %u.%" PRIu64 " [", slot_of(handle), context, ring.nodeid, ring.seq);
	for (uint32_t i = 0; i < count; i++)
		printf("%s%u", i ? " " : "", nodes[i]);
	printf("]\n");
}

static void make_open(struct slot *slot, int count, struct word *words)
{
	votequorum_callbacks_t callbacks = {on_quorum, on_expected, on_nodes};
	int fd = -1;
	(void)count, (void)words;
	cs_error_t status = votequorum_initialize(&slot->handle, &callbacks);
	if (status == CS_OK)
		votequorum_fd_get(slot->handle, &fd);
	opened(slot, status, fd);
	result(status, "");
}

static void make_close(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	closed(slot);
	result(votequorum_finalize(slot->handle), "");
}

/* info S NODEID */
static void make_info(struct slot *slot, int count, struct word *words)
{
	struct votequorum_info info;
	(void)count;
	memset(&info, 0, sizeof(info));
	cs_error_t status = votequorum_getinfo(slot->handle, (unsigned int)number(&words[0]), &info);
	if (status == CS_OK)
		result(status, "node %u state %u votes %u expected %u highest %u total %u quorum %u flags %u device %u %s",
		       info.node_id, info.node_state, info.node_votes, info.node_expected_votes, info.highest_expected,
		       info.total_votes, info.quorum, info.flags, info.qdevice_votes, info.qdevice_name);
	else
		result(status, "");
}

static void make_expected(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(votequorum_setexpected(slot->handle, (unsigned int)number(&words[0])), "");
}

/* votes S NODEID VOTES */
static void make_votes(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(votequorum_setvotes(slot->handle, (unsigned int)number(&words[0]), (unsigned int)number(&words[1])), "");
}

/* track S CONTEXT FLAGS */
static void make_track(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(votequorum_trackstart(slot->handle, number(&words[0]), (unsigned int)number(&words[1])), "");
}

static void make_untrack(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	result(votequorum_trackstop(slot->handle), "");
}

static void make_context(struct slot *slot, int count, struct word *words)
{
	void *context = NULL;
	cs_error_t status;
	if (count)
		status = votequorum_context_set(slot->handle, (void *)(uintptr_t)number(&words[0]));
	else
		status = votequorum_context_get(slot->handle, &context);
	result(status, "%" PRIuPTR, (uintptr_t)context);
}

static void make_register(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(votequorum_qdevice_register(slot->handle, words[0].text), "");
}

static void make_unregister(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(votequorum_qdevice_unregister(slot->handle, words[0].text), "");
}

static void make_rename(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(votequorum_qdevice_update(slot->handle, words[0].text, words[1].text), "");
}

/* poll S NAME VOTE [stale]: for the ring of the last "nodes" event */
static void make_poll(struct slot *slot, int count, struct word *words)
{
	votequorum_ring_id_t ring = last_ring;
	ring.seq -= count > 2;
	result(votequorum_qdevice_poll(slot->handle, words[0].text, (unsigned int)number(&words[1]), ring), "");
}

static void make_master_wins(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(votequorum_qdevice_master_wins(slot->handle, words[0].text, (unsigned int)number(&words[1])), "");
}

static cs_error_t library_dispatch(struct slot *slot, cs_dispatch_flags_t mode)
{
	return votequorum_dispatch(slot->handle, mode);
}

static const struct call calls[] = {
	{"open", make_open},	     {"close", make_close},	    {"info", make_info},
	{"expected", make_expected}, {"votes", make_votes},	    {"track", make_track},
	{"untrack", make_untrack},   {"context", make_context},	    {"register", make_register},
	{"unregister", make_unregister}, {"rename", make_rename}, {"poll", make_poll},
	{"master_wins", make_master_wins}, {NULL, NULL},
};

int main(void)
{
	return play();
}
