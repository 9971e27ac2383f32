/* Which instructions this CPU has. */
#include "runtime.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Whether the system saves the registers of AVX, or of AVX-512 (Intel's manual, volume 1, 14.3). */
static int saved(uint64_t wanted) {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27))) return 0;
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (((uint64_t)high << 32 | low) & wanted) == wanted;
}

int tvmkd_rt_has(uint32_t feature) {
  enum { EBX = 1, EDX = 3 };
  uint32_t found[4], leaf = feature >> 8, reg = feature >> 5 & 3, bit = feature & 31, subleaf = 0;
  if (leaf == 0x71) leaf = 7, subleaf = 1;
  if (leaf == 0x81) leaf = 0x80000001u;
  if (!__get_cpuid_count(leaf, subleaf, &found[0], &found[1], &found[2], &found[3])) return 0;
  if (!(found[reg] >> bit & 1)) return 0;
  /* AVX-512's are in leaf 7, AVX2 and BMI below bit 16 of EBX; all others need YMM at most. */
  int wide = leaf == 7 && !subleaf && reg != EDX && (reg != EBX || bit >= 16);
  return saved(wide ? 0xe6 : 6);
}
#else
#include <sys/auxv.h>

int tvmkd_rt_has(uint32_t feature) { return getauxval(AT_HWCAP) >> (feature & 63) & 1; }
#endif
