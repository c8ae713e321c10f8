/* record.h - an item as bytes in the `items` table. Private to index/.
 *
 * FORMAT, version 2, little-endian, packed:
 *     0  u32  version, 2
 *     4  u32  0
 *     8  u64  XXH3-64 of all that follows
 *    16  u64  row          24  u64 sequence      32  i64 timestamp     40  i64 updated
 *    48  u64[2] content_hash                     64  u64[4] encoded_hash, by space
 *    96  u32[5] bytes of text, image, audio, attributes, problems     116 u32 0
 *   120  those five, one behind the other
 * Version 1, of stores from before there were pictures, is read too: it has two words of encoded_hash, of
 * which the first is that of the text and of the fused vector; so sizes begin at 80, strings at 104.
 * The checksum makes a damaged record an error that names its id, where it would otherwise be a wrong answer.
 */
#ifndef MAGPIE_RECORD_H
#define MAGPIE_RECORD_H

#include "index.h"

/* Bytes of the record of `item`; SIZE_MAX where a part is beyond 32 bits. */
size_t magpie_record_size(const magpie_item *item);
/* Writes it to `bytes` [magpie_record_size]. */
void magpie_record_write(const magpie_item *item, unsigned char *bytes);
/* Fills all of *out but its id, which is `id`. The strings point into `bytes`. MAGPIE_E_CORRUPT names the id.
 */
MAGPIE_CHECK_RESULT magpie_status magpie_record_read(const void *bytes, size_t size, magpie_string id,
                                                     magpie_item *out);

#endif
