/* What every program here shares: its exit codes, how it ends with an error, and its clock. */
#ifndef TVMKD_PROGRAM_H
#define TVMKD_PROGRAM_H

#include <stdint.h>

/* Those of the tvmkd command line. */
enum { EXIT_GATE = 1, EXIT_USAGE = 2, EXIT_INPUT = 4, EXIT_MISSING = 5, EXIT_FAULT = 70 };

/* Defined by each program: stands before its messages. */
extern const char program_name[];

/* Prints "program: message" on stderr; `die` also ends the process with the exit code. */
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die(int code, const char* format, ...) __attribute__((format(printf, 2, 3)));

/* malloc, but the program ends with EXIT_MISSING where there is no memory. Freed by free. */
void* must_allocate(uint64_t bytes);

/* As must_allocate, aligned to 64 bytes (buffers that a library uses where they lie). */
void* must_allocate_aligned(uint64_t bytes);

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t now_ns(void);

/* Sleeps until the clock of now_ns shows `when`; returns at once if it has passed. */
void sleep_until_ns(int64_t when);

#endif
