/* What the fake driver's parts share. */
#ifndef FAKE_CUDA_H
#define FAKE_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct code; /* instructions of a kernel, once they have been read */
struct kernel {
  struct kernel* next;
  struct module* module;
  char name[128];
  int count;
  int sizes[64];
  bool pointers[64];
  unsigned threads;
  const char* body;  /* the PTX between its braces */
  struct code* code;
};
struct module {
  char* text;
  struct kernel* kernels;
};

/* True if `size` bytes from there are device memory. */
bool fake_cuda_holds(const void* pointer, size_t size);

/* fake_ptx.c: computes a kernel; ends the process, with a line, where it cannot. */
void fake_ptx_run(const struct kernel* kernel, const unsigned* grid, const unsigned* block,
                  unsigned shared, const uint64_t* params);
void fake_ptx_free(struct code* code);

#endif
