/* A plugin for QEMU's user mode that counts how often each translated block of the guest runs, and
 * that can follow its data through two caches.
 *
 *     qemu-aarch64 -plugin file=qemu_blocks.so,counts=FILE[,l1=BYTES:WAYS,l2=BYTES:WAYS] ...
 *
 * FILE is mapped, so that the counts can be read while the guest runs, by itself too; what a forked
 * guest process runs is added to the same counts. See struct counts for what is in it; all numbers
 * are uint64. A block that QEMU translates again has a record for each translation. Instructions
 * retired are the sum of instructions times runs; a block that is left early, by a fault, counts in
 * full. The caches have lines of 64 bytes, replace the least recently used, allocate for writes
 * too, and know no prefetching. They are kept for each process, and followed unless FILE says no.
 *
 * The plugin interface's header comes with QEMU's sources and not with its packages: what is used
 * of it is declared here, as version 1 has it (QEMU 4.2 to 8.2).
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_RW = 3 };
typedef void (*qemu_plugin_vcpu_tb_trans_cb_t)(qemu_plugin_id_t, struct qemu_plugin_tb*);
typedef void (*qemu_plugin_vcpu_mem_cb_t)(unsigned, qemu_plugin_meminfo_t, uint64_t, void*);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, qemu_plugin_vcpu_tb_trans_cb_t);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb*, enum qemu_plugin_op, void*,
                                              uint64_t);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn*, qemu_plugin_vcpu_mem_cb_t,
                                      enum qemu_plugin_cb_flags, enum qemu_plugin_mem_rw, void*);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn*);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn*);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);

enum { MOST = 1 << 20, MOST_CODE = 1 << 28, LINE = 64 };
struct block {
  uint64_t address, instructions, runs;
  uint64_t code; /* where its instructions begin in struct counts' code */
};
struct counts {
  uint64_t blocks, code_bytes;   /* how much is in use below */
  uint64_t accesses;             /* of data, by cache line; 0 without caches, as the next two */
  uint64_t l1_misses, l2_misses; /* lines */
  uint64_t follow;               /* the reader sets it to 1 while the caches are to be followed */
  struct block block[MOST];
  uint8_t code[MOST_CODE];
};
struct cache {
  uint64_t sets, ways, now;
  uint64_t* line; /* [sets][ways]: number of the line plus one */
  uint64_t* used; /* [sets][ways]: when */
};

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static struct counts* counts;
static struct cache l1, l2;

static int make_cache(struct cache* cache, const char* text) {
  char* rest;
  uint64_t bytes = strtoull(text, &rest, 10);
  cache->ways = *rest == ':' ? strtoull(rest + 1, NULL, 10) : 0;
  if (cache->ways == 0 || bytes < LINE * cache->ways) return 1;
  cache->sets = bytes / LINE / cache->ways;
  cache->line = calloc(cache->sets * cache->ways, sizeof *cache->line);
  cache->used = calloc(cache->sets * cache->ways, sizeof *cache->used);
  return cache->line == NULL || cache->used == NULL;
}

/* Whether the line was there; it is afterwards. */
static int hit(struct cache* cache, uint64_t number) {
  uint64_t at = number % cache->sets * cache->ways, oldest = at;
  ++cache->now;
  for (uint64_t way = at; way < at + cache->ways; ++way) {
    if (cache->line[way] == number + 1) {
      cache->used[way] = cache->now;
      return 1;
    }
    if (cache->used[way] < cache->used[oldest]) oldest = way;
  }
  cache->line[oldest] = number + 1;
  cache->used[oldest] = cache->now;
  return 0;
}

static void accessed(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void* more) {
  (void)cpu, (void)more;
  if (!__atomic_load_n(&counts->follow, __ATOMIC_RELAXED)) return;
  uint64_t last = address + (1u << qemu_plugin_mem_size_shift(info)) - 1;
  for (uint64_t number = address / LINE; number <= last / LINE; ++number) {
    ++counts->accesses;
    if (hit(&l1, number)) continue;
    ++counts->l1_misses;
    if (!hit(&l2, number)) ++counts->l2_misses;
  }
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* translation) {
  (void)id;
  size_t instructions = qemu_plugin_tb_n_insns(translation), bytes = 0;
  for (size_t i = 0; i < instructions; ++i) {
    struct qemu_plugin_insn* one = qemu_plugin_tb_get_insn(translation, i);
    bytes += qemu_plugin_insn_size(one);
    if (l1.sets == 0) continue;
    qemu_plugin_register_vcpu_mem_cb(one, accessed, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
                                     NULL);
  }
  uint64_t number = __atomic_fetch_add(&counts->blocks, 1, __ATOMIC_RELAXED);
  uint64_t code = __atomic_fetch_add(&counts->code_bytes, bytes, __ATOMIC_RELAXED);
  if (number >= MOST || code + bytes > MOST_CODE) {
    fprintf(stderr, "qemu_blocks: more than %d blocks or %d bytes of code\n", MOST, MOST_CODE);
    exit(1);
  }
  struct block* block = &counts->block[number];
  block->address = qemu_plugin_tb_vaddr(translation);
  block->instructions = instructions;
  block->code = code;
  for (size_t i = 0; i < instructions; ++i) {
    struct qemu_plugin_insn* one = qemu_plugin_tb_get_insn(translation, i);
    memcpy(counts->code + code, qemu_plugin_insn_data(one), qemu_plugin_insn_size(one));
    code += qemu_plugin_insn_size(one);
  }
  qemu_plugin_register_vcpu_tb_exec_inline(translation, QEMU_PLUGIN_INLINE_ADD_U64, &block->runs,
                                           1);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id,
                                                               const qemu_info_t* info, int argc,
                                                               char** argv) {
  (void)info;
  for (int i = 0; i < argc; ++i) {
    if (strncmp(argv[i], "l1=", 3) == 0 && make_cache(&l1, argv[i] + 3) != 0) return 1;
    if (strncmp(argv[i], "l2=", 3) == 0 && make_cache(&l2, argv[i] + 3) != 0) return 1;
    if (strncmp(argv[i], "counts=", 7) != 0) continue;
    int fd = open(argv[i] + 7, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *counts) != 0) return 1;
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (counts == MAP_FAILED) return 1;
    counts->follow = 1;
  }
  if (counts == NULL || (l1.sets == 0) != (l2.sets == 0)) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}
