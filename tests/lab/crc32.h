/* CRC-32 as zlib.crc32 computes it, for programs that only want the C library. crc_init() comes first. */
#include <stddef.h>
#include <stdint.h>

static uint32_t crc_table[256];

static void crc_init(void)
{
	for (uint32_t n = 0; n < 256; n++) {
		uint32_t c = n;
		for (int k = 0; k < 8; k++)
			c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
		crc_table[n] = c;
	}
}

static uint32_t crc32_of(const unsigned char *data, size_t length)
{
	uint32_t c = 0xffffffffu;
	for (size_t i = 0; i < length; i++)
		c = crc_table[(c ^ data[i]) & 0xff] ^ (c >> 8);
	return c ^ 0xffffffffu;
}
