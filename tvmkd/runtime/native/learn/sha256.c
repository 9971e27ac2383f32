/* SHA-256 (FIPS 180-4). */
#include <string.h>

#include "head_file.h"

static uint32_t round_constants[64], first_state[8];

/* The first 32 bits of the fractional part of a root, by bisection in integers: root^power <= n. */
static uint32_t root_bits(uint32_t prime, int power) {
  unsigned __int128 wanted = (unsigned __int128)prime << (32 * power);
  uint64_t low = 0, high = (uint64_t)1 << 38;
  while (high - low > 1) {
    uint64_t middle = (low + high) / 2;
    unsigned __int128 raised = (unsigned __int128)middle * middle;
    if (power == 3) raised *= middle;
    if (raised <= wanted)
      low = middle;
    else
      high = middle;
  }
  return (uint32_t)low;
}

static void make_constants(void) {
  int found = 0;
  for (uint32_t number = 2; found < 64; number++) {
    int prime = 1;
    for (uint32_t each = 2; each * each <= number; each++) prime = prime && number % each;
    if (!prime) continue;
    if (found < 8) first_state[found] = root_bits(number, 2);
    round_constants[found++] = root_bits(number, 3);
  }
}

static uint32_t turned(uint32_t word, int by) { return word >> by | word << (32 - by); }

static void mix(uint32_t state[8], const unsigned char *block) {
  uint32_t words[64], now[8];
  for (int i = 0; i < 16; i++, block += 4)
    words[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
  for (int i = 16; i < 64; i++) {
    uint32_t a = words[i - 15], b = words[i - 2];
    words[i] = words[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + words[i - 7] +
               (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
  }
  memcpy(now, state, sizeof now);
  for (int i = 0; i < 64; i++) {
    uint32_t a = now[0], e = now[4];
    uint32_t first = now[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) +
                     ((e & now[5]) ^ (~e & now[6])) + round_constants[i] + words[i];
    uint32_t second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) +
                      ((a & now[1]) ^ (a & now[2]) ^ (now[1] & now[2]));
    memmove(now + 1, now, 7 * sizeof *now);
    now[4] += first;
    now[0] = first + second;
  }
  for (int i = 0; i < 8; i++) state[i] += now[i];
}

void tvmkd_sha256(const unsigned char *data, size_t bytes, uint8_t digest[DIGEST_BYTES]) {
  make_constants();
  uint32_t state[8];
  memcpy(state, first_state, sizeof state);
  size_t whole = bytes / 64 * 64;
  for (size_t place = 0; place < whole; place += 64) mix(state, data + place);
  unsigned char last[128] = {0};
  size_t rest = bytes - whole, used = rest < 56 ? 64 : 128;
  if (rest) memcpy(last, data + whole, rest);
  last[rest] = 0x80;
  for (int i = 0; i < 8; i++) last[used - 1 - (size_t)i] = (unsigned char)((uint64_t)bytes * 8 >> 8 * i);
  for (size_t place = 0; place < used; place += 64) mix(state, last + place);
  for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
