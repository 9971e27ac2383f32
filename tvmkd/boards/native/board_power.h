/* What a board draws, by the sensors that the kernel shows. As tvmkd/boards/power.py. */
#ifndef TVMKD_BOARD_POWER_H
#define TVMKD_BOARD_POWER_H

#include <stdbool.h>

enum { MOST_RAILS = 32 };

struct board_power {
  struct {
    char name[64];
    double watts;
  } rails[MOST_RAILS];
  int count;
  bool known; /* whether `watts` of the whole board is */
  double watts;
};

void board_power_read(struct board_power* power);

#endif
