/*
 * What the programs in this directory have in common: they read calls from standard input, one on a line, make them,
 * and write down their results and every event of the library.
 *
 *   > <call> <slot> <arguments>      a line that was read
 *   = <status> <values>              its result; status is a cs_error_t
 *   ! <event> <slot> <values>        an event, written from the library's callback
 *   ~ dispatch <slot> <status>       the connection has ended while events were awaited
 *
 * A slot is a small number for a handle. Events are dispatched as they come ("auto 0 0" stops that, "dispatch 0 MODE"
 * does it by hand). In words, %xx is a byte and %% alone an empty word.
 */
#ifndef PLAYER_H
#define PLAYER_H

#include <corosync/corotypes.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 8
#define WORDS 16
#define WORD_LENGTH 600

struct slot {
	uint64_t handle;
	int fd; /* -1: none to wait for */
	int automatic;
};

static struct slot slots[SLOTS];

struct word {
	size_t length;
	char text[WORD_LENGTH];
};

struct call {
	const char *name;
	/* Makes the call and writes its result with result(). words[0] is the first behind the slot. */
	void (*make)(struct slot *slot, int count, struct word *words);
};

/* The library's own. */
static cs_error_t library_dispatch(struct slot *slot, cs_dispatch_flags_t mode);
static const struct call calls[];

static inline int number_of(const struct slot *slot)
{
	return (int)(slot - slots);
}

/* Callbacks know only the handle. */
static inline int slot_of(uint64_t handle)
{
	for (int i = 0; i < SLOTS; i++)
		if (slots[i].handle == handle)
			return i;
	return -1;
}

static inline uint64_t number(const struct word *word)
{
	return strtoull(word->text, NULL, 0);
}

static inline void result(cs_error_t status, const char *format, ...)
{
	va_list values;
	printf("= %d", status);
	if (*format)
		putchar(' ');
	va_start(values, format);
	vprintf(format, values);
	va_end(values);
	putchar('\n');
}

static inline void print_bytes(const void *data, size_t length)
{
	const unsigned char *bytes = data;
	for (size_t i = 0; i < length; i++)
		printf(bytes[i] > 32 && bytes[i] < 127 && bytes[i] != '%' ? "%c" : "%%%02x", bytes[i]);
}

static inline void opened(struct slot *slot, cs_error_t status, int fd)
{
	slot->fd = status == CS_OK ? fd : -1;
	slot->automatic = 1;
}

static inline void closed(struct slot *slot)
{
	slot->fd = -1;
}

static inline int read_word(struct word *word, const char *text)
{
	if (strcmp(text, "%%") == 0)
		text = "";
	word->length = 0;
	while (*text && word->length < WORD_LENGTH - 1) {
		unsigned int byte = (unsigned char)*text;
		if (byte == '%' && sscanf(text + 1, "%2x", &byte) == 1)
			text += 2;
		word->text[word->length++] = (char)byte;
		text++;
	}
	word->text[word->length] = 0;
	return *text == 0;
}

static inline void make(char *line)
{
	static struct word words[WORDS];
	char *name = strtok(line, " "), *text = strtok(NULL, " ");
	struct slot *slot = &slots[text ? atoi(text) % SLOTS : 0];
	int count = 0;

	printf("> %s %d", name, number_of(slot));
	while (count < WORDS && (text = strtok(NULL, " ")) != NULL) {
		if (!read_word(&words[count++], text))
			exit(1);
		printf(" %s", text);
	}
	putchar('\n');
	for (int i = count; i < WORDS; i++) {
		words[i].length = 0;
		words[i].text[0] = 0;
	}
	if (strcmp(name, "auto") == 0) {
		slot->automatic = (int)number(&words[0]);
		result(CS_OK, "");
		return;
	}
	if (strcmp(name, "dispatch") == 0) {
		result(library_dispatch(slot, (cs_dispatch_flags_t)number(&words[0])), "");
		return;
	}
	if (strcmp(name, "readable") == 0) {
		struct pollfd wait = {.fd = slot->fd, .events = POLLIN};
		result(CS_OK, "%d", poll(&wait, 1, 0) > 0);
		return;
	}
	for (const struct call *call = calls; call->name; call++)
		if (strcmp(call->name, name) == 0) {
			call->make(slot, count, words);
			return;
		}
	fprintf(stderr, "unknown call %s\n", name);
	exit(1);
}

static inline void await_events(struct slot *slot)
{
	cs_error_t status = library_dispatch(slot, CS_DISPATCH_ONE);

	if (status != CS_OK && status != CS_ERR_TRY_AGAIN) {
		printf("~ dispatch %d %d\n", number_of(slot), status);
		slot->fd = -1;
	}
}

static inline int play(void)
{
	static char input[8192];
	size_t length = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < SLOTS; i++)
		slots[i].fd = -1;
	for (;;) {
		struct pollfd wait[SLOTS + 1] = {{.fd = 0, .events = POLLIN}};
		char *end;

		for (int i = 0; i < SLOTS; i++) {
			wait[i + 1].fd = slots[i].automatic ? slots[i].fd : -1;
			wait[i + 1].events = POLLIN;
		}
		poll(wait, SLOTS + 1, -1);
		for (int i = 0; i < SLOTS; i++)
			if (wait[i + 1].revents && slots[i].fd == wait[i + 1].fd)
				await_events(&slots[i]);
		if (!wait[0].revents)
			continue;
		ssize_t more = read(0, input + length, sizeof(input) - 1 - length);
		if (more <= 0)
			return 0;
		length += (size_t)more;
		input[length] = 0;
		while ((end = strchr(input, '\n')) != NULL) {
			*end = 0;
			make(input);
			length -= (size_t)(end + 1 - input);
			memmove(input, end + 1, length + 1);
		}
	}
}

#endif
