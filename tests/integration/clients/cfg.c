/* libcfg, call by call: see player.h. */
#include "player.h"

#include <arpa/inet.h>
#include <corosync/cfg.h>
#include <netinet/in.h>

static void on_shutdown(corosync_cfg_handle_t handle, corosync_cfg_shutdown_flags_t flags)
{
	printf("! shutdown %d %d\n", slot_of(handle), flags);
}

static void make_open(struct slot *slot, int count, struct word *words)
{
	corosync_cfg_callbacks_t callbacks = {on_shutdown};
	int fd = -1;
	(void)count, (void)words;
	cs_error_t status = corosync_cfg_initialize(&slot->handle, &callbacks);
	if (status == CS_OK)
		corosync_cfg_fd_get(slot->handle, &fd);
	opened(slot, status, fd);
	result(status, "");
}

static void make_close(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	closed(slot);
	result(corosync_cfg_finalize(slot->handle), "");
}

static void make_rings(struct slot *slot, int count, struct word *words)
{
	char **names, **states;
	unsigned int found = 0;
	(void)count, (void)words;
	cs_error_t status = corosync_cfg_ring_status_get(slot->handle, &names, &states, &found);
	printf("= %d", status);
	if (status == CS_OK)
		for (unsigned int i = 0; i < found; i++)
			printf(" [%s %s]", names[i], states[i]);
	putchar('\n');
}

/* node S NODEID [VERSION] */
static void make_node(struct slot *slot, int count, struct word *words)
{
	struct corosync_cfg_node_status_v1 node;
	memset(&node, 0, sizeof(node));
	cs_error_t status = corosync_cfg_node_status_get(
		slot->handle, (unsigned int)number(&words[0]),
		count > 1 ? (corosync_cfg_node_status_version_t)number(&words[1]) : CFG_NODE_STATUS_V1, &node);
	printf("= %d", status);
	if (status == CS_OK) {
		printf(" version %d node %u reachable %u remote %u external %u onwire %u-%u %u", node.version, node.nodeid,
		       node.reachable, node.remote, node.external, node.onwire_min, node.onwire_max, node.onwire_ver);
		for (int i = 0; i < CFG_MAX_LINKS; i++)
			if (node.link_status[i].enabled || node.link_status[i].src_ipaddr[0])
				printf(" link %d enabled %u connected %u %u mtu %u (%s) (%s)", i,
				       node.link_status[i].enabled, node.link_status[i].connected,
				       node.link_status[i].dynconnected, node.link_status[i].mtu,
				       node.link_status[i].src_ipaddr, node.link_status[i].dst_ipaddr);
	}
	putchar('\n');
}

static void make_addresses(struct slot *slot, int count, struct word *words)
{
	corosync_cfg_node_address_t list[8];
	char text[INET6_ADDRSTRLEN];
	int found = 0;
	(void)count;
	cs_error_t status =
		corosync_cfg_get_node_addrs(slot->handle, (unsigned int)number(&words[0]), 8, &found, list);
	printf("= %d", status);
	for (int i = 0; status == CS_OK && i < found; i++) {
		struct sockaddr_in *v4 = (struct sockaddr_in *)list[i].address;
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)list[i].address;
		const void *address = v4->sin_family == AF_INET6 ? (void *)&v6->sin6_addr : (void *)&v4->sin_addr;
		printf(" %d %s", v4->sin_family, inet_ntop(v4->sin_family, address, text, sizeof(text)));
	}
	putchar('\n');
}

static void make_local(struct slot *slot, int count, struct word *words)
{
	unsigned int nodeid = 0;
	(void)count, (void)words;
	cs_error_t status = corosync_cfg_local_get(slot->handle, &nodeid);
	result(status, "%u", nodeid);
}

/* kill S NODEID REASON */
static void make_kill(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(corosync_cfg_kill_node(slot->handle, (unsigned int)number(&words[0]), words[1].text), "");
}

static void make_shutdown(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(corosync_cfg_try_shutdown(slot->handle, (corosync_cfg_shutdown_flags_t)number(&words[0])), "");
}

static void make_reply(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(corosync_cfg_replyto_shutdown(slot->handle, (corosync_cfg_shutdown_reply_flags_t)number(&words[0])), "");
}

static void make_track(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(corosync_cfg_trackstart(slot->handle, (uint8_t)number(&words[0])), "");
}

static void make_untrack(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	result(corosync_cfg_trackstop(slot->handle), "");
}

static void make_reload(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	result(corosync_cfg_reload_config(slot->handle), "");
}

static void make_reopen(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	result(corosync_cfg_reopen_log_files(slot->handle), "");
}

static cs_error_t library_dispatch(struct slot *slot, cs_dispatch_flags_t mode)
{
	return corosync_cfg_dispatch(slot->handle, mode);
}

static const struct call calls[] = {
	{"open", make_open},	   {"close", make_close},   {"rings", make_rings},     {"node", make_node},
	{"addresses", make_addresses}, {"local", make_local}, {"kill", make_kill},     {"shutdown", make_shutdown},
	{"reply", make_reply},	   {"track", make_track},   {"untrack", make_untrack}, {"reload", make_reload},
	{"reopen", make_reopen},   {NULL, NULL},
};

int main(void)
{
	return play();
}
