/* What board this is, as JSON with the names of tvmkd/boards/facts.py. */
#ifndef TVMKD_BOARD_FACTS_H
#define TVMKD_BOARD_FACTS_H

#include "buffer.h"

/* An object: machine, model, cpu, cores, memory_bytes, kernel, governor. */
void board_facts_write(struct buffer* out);

/* Two members without braces: celsius and throttled, null where they are unknown. */
void board_heat_write(struct buffer* out);

#endif
