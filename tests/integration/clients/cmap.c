/* libcmap, call by call: see player.h. */
#include "player.h"

#include <corosync/cmap.h>

#define TRACKS 16

static cmap_iter_handle_t iterations[SLOTS];
static cmap_track_handle_t tracks[TRACKS];

static void print_value(struct cmap_notify_value value)
{
	printf("(%d %zu ", value.type, value.len);
	print_bytes(value.data, value.len);
	putchar(')');
}

static void on_change(cmap_handle_t handle, cmap_track_handle_t track, int32_t event, const char *key,
		      struct cmap_notify_value new_value, struct cmap_notify_value old_value, void *user)
{
	(void)track;
	printf("! change %d track %" PRIuPTR " event %d %s new ", slot_of(handle), (uintptr_t)user, event, key);
	print_value(new_value);
	printf(" old ");
	print_value(old_value);
	putchar('\n');
}

/* open S: cmap_initialize. open S MAP: cmap_initialize_map. */
static void make_open(struct slot *slot, int count, struct word *words)
{
	int fd = -1;
	cs_error_t status = count ? cmap_initialize_map(&slot->handle, (cmap_map_t)number(&words[0]))
				  : cmap_initialize(&slot->handle);
	if (status == CS_OK)
		cmap_fd_get(slot->handle, &fd);
	opened(slot, status, fd);
	result(status, "");
}

static void make_close(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	closed(slot);
	result(cmap_finalize(slot->handle), "");
}

/* set S KEY TYPE VALUE [LENGTH]: VALUE is the bytes of the value */
static void make_set(struct slot *slot, int count, struct word *words)
{
	size_t length = count > 3 ? number(&words[3]) : words[2].length;
	static char value[70000];
	memset(value, 'v', sizeof(value));
	memcpy(value, words[2].text, words[2].length);
	result(cmap_set(slot->handle, words[0].text, value, length, (cmap_value_types_t)number(&words[1])), "");
}

/* set_u32 S KEY VALUE, set_string S KEY VALUE: the library's own encodings */
static void make_set_u32(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(cmap_set_uint32(slot->handle, words[0].text, (uint32_t)number(&words[1])), "");
}

static void make_set_string(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(cmap_set_string(slot->handle, words[0].text, words[1].text), "");
}

/* get S KEY [BUFFER]: BUFFER bytes of room (none: ask for length and type alone) */
static void make_get(struct slot *slot, int count, struct word *words)
{
	static char value[70000];
	size_t length = count > 1 ? number(&words[1]) : 0;
	cmap_value_types_t type = 0;
	cs_error_t status = cmap_get(slot->handle, words[0].text, count > 1 ? value : NULL, &length, &type);
	if (status != CS_OK) {
		result(status, "");
		return;
	}
	printf("= %d type %d length %zu ", status, type, length);
	if (count > 1)
		print_bytes(value, length);
	putchar('\n');
}

/* The typed ones: they check the type. */
static void make_get_typed(struct slot *slot, int count, struct word *words)
{
	int8_t i8 = 0;
	uint8_t u8 = 0;
	uint32_t u32 = 0;
	uint64_t u64 = 0;
	float flt = 0;
	double dbl = 0;
	char *text = NULL;
	const char *key = words[0].text;
	(void)count;
	printf("= %d", cmap_get_int8(slot->handle, key, &i8));
	printf(" %d", cmap_get_uint8(slot->handle, key, &u8));
	printf(" %d", cmap_get_uint32(slot->handle, key, &u32));
	printf(" %d", cmap_get_uint64(slot->handle, key, &u64));
	printf(" %d", cmap_get_float(slot->handle, key, &flt));
	printf(" %d", cmap_get_double(slot->handle, key, &dbl));
	printf(" %d", cmap_get_string(slot->handle, key, &text));
	printf(" %d %u %u %" PRIu64 " %f %f %s\n", i8, u8, u32, u64, (double)flt, dbl, text ? text : "-");
	free(text);
}

static void make_delete(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(cmap_delete(slot->handle, words[0].text), "");
}

static void make_increment(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(cmap_inc(slot->handle, words[0].text), "");
}

static void make_decrement(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(cmap_dec(slot->handle, words[0].text), "");
}

/* iterate S [PREFIX]: from beginning to end */
static void make_iterate(struct slot *slot, int count, struct word *words)
{
	char key[CMAP_KEYNAME_MAXLEN + 1];
	size_t length;
	cmap_value_types_t type;
	cmap_iter_handle_t iteration = 0;
	cs_error_t status = cmap_iter_init(slot->handle, count ? words[0].text : NULL, &iteration);
	printf("= %d", status);
	if (status == CS_OK) {
		while ((status = cmap_iter_next(slot->handle, iteration, key, &length, &type)) == CS_OK)
			printf(" [%s %d %zu]", key, type, length);
		printf(" %d", status);
		printf(" %d", cmap_iter_next(slot->handle, iteration, key, &length, &type));
		printf(" %d", cmap_iter_finalize(slot->handle, iteration));
		printf(" %d", cmap_iter_next(slot->handle, iteration, key, &length, &type));
		printf(" %d", cmap_iter_finalize(slot->handle, iteration));
	}
	putchar('\n');
}

/* iteration S PREFIX: begin one and keep it; next S: one step; end S: finalize it */
static void make_iteration(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(cmap_iter_init(slot->handle, words[0].text, &iterations[number_of(slot)]), "");
}

static void make_next(struct slot *slot, int count, struct word *words)
{
	char key[CMAP_KEYNAME_MAXLEN + 1] = "";
	size_t length = 0;
	cmap_value_types_t type = 0;
	(void)count, (void)words;
	cs_error_t status = cmap_iter_next(slot->handle, iterations[number_of(slot)], key, &length, &type);
	result(status, "%s", status == CS_OK ? key : "");
}

static void make_end(struct slot *slot, int count, struct word *words)
{
	(void)count, (void)words;
	result(cmap_iter_finalize(slot->handle, iterations[number_of(slot)]), "");
}

/* track S NUMBER TYPE [KEY] */
static void make_track(struct slot *slot, int count, struct word *words)
{
	uint64_t index = number(&words[0]) % TRACKS;
	result(cmap_track_add(slot->handle, count > 2 ? words[2].text : NULL, (int32_t)number(&words[1]), on_change,
			      (void *)(uintptr_t)index, &tracks[index]),
	       "");
}

static void make_untrack(struct slot *slot, int count, struct word *words)
{
	(void)count;
	result(cmap_track_delete(slot->handle, tracks[number(&words[0]) % TRACKS]), "");
}

static void make_context(struct slot *slot, int count, struct word *words)
{
	const void *context = NULL;
	cs_error_t status;
	if (count)
		status = cmap_context_set(slot->handle, (const void *)(uintptr_t)number(&words[0]));
	else
		status = cmap_context_get(slot->handle, &context);
	result(status, "%" PRIuPTR, (uintptr_t)context);
}

static cs_error_t library_dispatch(struct slot *slot, cs_dispatch_flags_t mode)
{
	return cmap_dispatch(slot->handle, mode);
}

static const struct call calls[] = {
	{"open", make_open},	       {"close", make_close},	      {"set", make_set},
	{"set_u32", make_set_u32},     {"set_string", make_set_string}, {"get", make_get},
	{"get_typed", make_get_typed}, {"delete", make_delete},	      {"increment", make_increment},
	{"decrement", make_decrement}, {"iterate", make_iterate},     {"iteration", make_iteration},
	{"next", make_next},	       {"end", make_end},	      {"track", make_track},
	{"untrack", make_untrack},     {"context", make_context},     {NULL, NULL},
};

int main(void)
{
	return play();
}
