/*
 * The loading client on libcpg, the same for every daemon; load.h says what it does with its arguments.
 */
#include "load.h"

#include <corosync/cpg.h>
#include <sys/uio.h>

static cpg_handle_t handle;

static void on_change(cpg_handle_t handle, const struct cpg_name *name, const struct cpg_address *list, size_t count,
		      const struct cpg_address *left, size_t left_count, const struct cpg_address *joined,
		      size_t joined_count)
{
	(void)handle, (void)name, (void)list, (void)left, (void)left_count, (void)joined, (void)joined_count;
	on_members(count);
}

static void on_deliver(cpg_handle_t handle, const struct cpg_name *name, uint32_t nodeid, uint32_t pid, void *data,
		       size_t length)
{
	(void)handle, (void)name, (void)nodeid, (void)pid;
	on_message(data, length);
}

static int join_group(int *descriptor)
{
	cpg_callbacks_t callbacks = {.cpg_deliver_fn = on_deliver, .cpg_confchg_fn = on_change};
	struct cpg_name group = {.length = strlen(group_name)};
	cs_error_t status;
	if (group.length > CPG_MAX_NAME_LENGTH)
		return -1;
	memcpy(group.value, group_name, group.length);
	while ((status = cpg_initialize(&handle, &callbacks)) == CS_ERR_TRY_AGAIN)
		usleep(10000);
	if (status != CS_OK)
		return -1;
	while ((status = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN)
		usleep(10000);
	return status == CS_OK && cpg_fd_get(handle, descriptor) == CS_OK ? 0 : -1;
}

static int multicast(const void *message, size_t length)
{
	struct iovec piece = {(void *)message, length};
	cs_error_t status = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &piece, 1);
	return status == CS_OK ? 1 : status == CS_ERR_TRY_AGAIN ? 0 : -1;
}

static int flush(void)
{
	return 0;
}

static int dispatch(void)
{
	return cpg_dispatch(handle, CS_DISPATCH_ALL) == CS_OK ? 0 : -1;
}

int main(int argc, char **argv)
{
	return argc == ARGUMENTS + 1 ? measure(argv + 1) : 1;
}
