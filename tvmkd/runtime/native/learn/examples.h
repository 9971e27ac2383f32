/* Draws, and the class-balanced memory of examples. */
#ifndef TVMKD_LEARN_EXAMPLES_H
#define TVMKD_LEARN_EXAMPLES_H

#include "head_file.h"

uint32_t tvmkd_draw_below(uint64_t *state, uint32_t count);
void tvmkd_examples_offer(tvmkd_examples *memory, uint32_t limit, uint32_t features,
                          const uint16_t *row, uint16_t label, uint64_t *state,
                          uint32_t *kept /* limit numbers, scratch */);

#endif
