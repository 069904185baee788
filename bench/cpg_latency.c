/*
 * Latency of ordered delivery through libcpg.
 *
 *   cpg_latency COMPLETE COUNT RATE SIZE SENDING OUT
 */
#include "pace.h"

#include <corosync/cpg.h>
#include <sys/uio.h>

static cpg_handle_t handle;
static struct cpg_name group = {sizeof(GROUP) - 1, GROUP};

static void on_change(cpg_handle_t handle, const struct cpg_name *name, const struct cpg_address *members,
		      size_t member_count, const struct cpg_address *left, size_t left_count,
		      const struct cpg_address *joined, size_t joined_count)
{
	(void)handle, (void)name, (void)members, (void)left, (void)left_count, (void)joined, (void)joined_count;
	on_members(member_count);
}

static void on_deliver(cpg_handle_t handle, const struct cpg_name *name, uint32_t nodeid, uint32_t pid, void *data,
		       size_t length)
{
	(void)handle, (void)name, (void)nodeid, (void)pid, (void)length;
	on_message(data);
}

static int join_group(int *descriptor)
{
	cpg_callbacks_t callbacks = {.cpg_deliver_fn = on_deliver, .cpg_confchg_fn = on_change};
	cs_error_t status;
	if (cpg_initialize(&handle, &callbacks) != CS_OK)
		return -1;
	while ((status = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN)
		usleep(10000);
	return status == CS_OK && cpg_fd_get(handle, descriptor) == CS_OK ? 0 : -1;
}

static int multicast(const void *message)
{
	struct iovec piece = {(void *)message, size};
	return cpg_mcast_joined(handle, CPG_TYPE_AGREED, &piece, 1) == CS_OK;
}

static int dispatch(void)
{
	return cpg_dispatch(handle, CS_DISPATCH_ALL) == CS_OK ? 0 : -1;
}

int main(int argc, char **argv)
{
	return argc == 7 ? measure(argv + 1) : 1;
}
