/* As draws.py and examples.py in tvmkd/deploy/board_learner, draw for draw. */
#include "examples.h"

#include <string.h>

uint32_t tvmkd_draw_below(uint64_t *state, uint32_t count) {
  *state += 0x9E3779B97F4A7C15u;
  uint64_t mixed = *state;
  mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
  mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
  mixed ^= mixed >> 31;
  return (uint32_t)((mixed >> 32) * count >> 32);
}

void tvmkd_examples_offer(tvmkd_examples *memory, uint32_t limit, uint32_t features,
                          const uint16_t *row, uint16_t label, uint64_t *state, uint32_t *kept) {
  uint32_t at = *memory->count;
  memory->seen[label]++;
  if (at < *memory->room) {
    ++*memory->count;
  } else if (!at) {
    return;
  } else {
    memset(kept, 0, limit * sizeof *kept);
    for (uint32_t each = 0; each < at; each++) kept[memory->labels[each]]++;
    uint32_t most = 0, largest = 0, loser = label, place;
    for (uint32_t each = 0; each < limit; each++)
      if (kept[each] > most) most = kept[each];
    if (kept[label] < most) {
      for (uint32_t each = 0; each < limit; each++) largest += kept[each] == most;
      uint32_t chosen = tvmkd_draw_below(state, largest);
      for (loser = 0; kept[loser] != most || chosen--; loser++) continue;
      place = tvmkd_draw_below(state, most);
    } else {
      place = tvmkd_draw_below(state, memory->seen[label]);
      if (place >= kept[label]) return;
    }
    for (at = 0; memory->labels[at] != loser || place--; at++) continue;
  }
  memory->labels[at] = label;
  memcpy(memory->rows + (size_t)at * features, row, features * sizeof *row);
}
