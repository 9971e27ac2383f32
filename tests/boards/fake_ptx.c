/* Computes kernels from their PTX, one block after the other: what NVRTC makes of TVM's CUDA C for
 * single and half precision. Threads run until each waits at a barrier or a shuffle. What this does not know
 * ends the process with a line. https://docs.nvidia.com/cuda/parallel-thread-execution/ */
#include <ctype.h>
#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_cuda.h"

enum { MOST_OPERANDS = 5, MOST_PARTS = 6, WARP = 32, CLASSES = 512, SYMBOLS = 64, LABELS = 512 };

enum kind { NOTHING, REGISTER, NUMBER, SPECIAL, SHARED, LOCAL, PARAM };
struct operand {
  enum kind kind;
  uint64_t value; /* the register, the number, the offset */
  int64_t plus;   /* of an address */
  int count;      /* registers of a vector, which follow each other in `vector` */
  int vector[4];
};

enum op { ABS, ACTIVEMASK, ADD, AND, BAR, BFE, BFI, BRA, CVT, CVTA, DIV, EX2, FMA, LD, LG2, MAD, MAX,
          MIN, MOV, MUL, NEG, NOT, OR, RCP, REM, RET, RSQRT, SELP, SETP, SHFL, SHL, SHR, SQRT, ST,
          SUB, XOR, OPS };
static const char* const names[OPS] = {
    "abs", "activemask", "add", "and", "bar", "bfe", "bfi", "bra", "cvt", "cvta", "div", "ex2",
    "fma", "ld", "lg2", "mad", "max", "min", "mov", "mul", "neg", "not", "or", "rcp", "rem", "ret",
    "rsqrt", "selp", "setp", "shfl", "shl", "shr", "sqrt", "st", "sub", "xor"};

struct instruction {
  enum op op;
  char parts[MOST_PARTS][12]; /* after the name: "lo", "s32" */
  int part_count;
  char type, from; /* 's', 'u', 'f', 'b' or 'p' of the last type, and of the source of a cvt */
  int bits, from_bits;
  bool high, wide, down, saturated;
  char compare[4], space;
  int predicate; /* a register, or -1 */
  bool negated;
  int target;
  char label[48];
  int count;
  struct operand operands[MOST_OPERANDS];
};

struct code {
  struct instruction* at;
  int count;
  struct { char name[24]; int first; } classes[CLASSES];
  int class_count, registers;
  struct { char name[200]; uint64_t offset; bool local; } symbols[SYMBOLS];
  int symbol_count;
  uint64_t shared, local;
  bool dynamic;
};

static _Noreturn void stop(const char* what, const char* text) {
  fprintf(stderr, "fake_ptx: %s: %s\n", what, text);
  exit(97);
}

static int class_of(struct code* code, const char* name) {
  for (int i = 0; i < code->class_count; ++i) {
    if (strcmp(code->classes[i].name, name) == 0) return i;
  }
  stop("no such register", name);
}

/* "%rd12" is a register of the class "rd"; one that inline assembly declares is a class of its own. */
static int register_of(struct code* code, const char* text) {
  char class[24] = "";
  if (text[0] != '%') return code->classes[class_of(code, text)].first;
  int used = 0;
  for (const char* p = text + 1; isalpha((unsigned char)*p) && used < 23; ++p) class[used++] = *p;
  return code->classes[class_of(code, class)].first + atoi(text + 1 + used);
}

static struct operand address_of(struct code* code, const char* text);

static struct operand operand_of(struct code* code, const char* text) {
  static const char* const specials[] = {"%tid.x",   "%tid.y",   "%tid.z",   "%ntid.x",
                                         "%ntid.y",  "%ntid.z",  "%ctaid.x", "%ctaid.y",
                                         "%ctaid.z", "%laneid"};
  struct operand found = {.kind = NUMBER};
  if (text[0] == '%') {
    for (int i = 0; i < 10; ++i) {
      if (strcmp(text, specials[i]) == 0) {
        found.kind = SPECIAL;
        found.value = (uint64_t)i;
        return found;
      }
    }
    found.kind = REGISTER;
    found.value = (uint64_t)register_of(code, text);
  } else if (strncmp(text, "__$", 3) == 0) {
    found.kind = REGISTER;
    found.value = (uint64_t)register_of(code, text);
  } else if (text[0] == '{') {
    found.kind = REGISTER;
    char copy[160];
    snprintf(copy, sizeof copy, "%s", text + 1);
    for (char* each = strtok(copy, "{}, "); each != NULL; each = strtok(NULL, "{}, ")) {
      found.vector[found.count++] = register_of(code, each);
    }
    found.value = (uint64_t)found.vector[0];
  } else if (text[0] == '[') {
    return address_of(code, text);
  } else if (strncmp(text, "0f", 2) == 0 || strncmp(text, "0d", 2) == 0) {
    found.value = strtoull(text + 2, NULL, 16);
  } else if (isdigit((unsigned char)text[0]) || text[0] == '-') {
    found.value = text[0] == '-' ? (uint64_t)strtoll(text, NULL, 0) : strtoull(text, NULL, 0);
  } else {
    for (int i = 0; i < code->symbol_count; ++i) {
      if (strcmp(code->symbols[i].name, text) != 0) continue;
      found.kind = code->symbols[i].local ? LOCAL : SHARED;
      found.value = code->symbols[i].offset;
      return found;
    }
    if (!code->dynamic) stop("no such symbol", text);
    found.kind = SHARED;
    found.value = code->shared;
  }
  return found;
}

static struct operand address_of(struct code* code, const char* text) {
  char base[200];
  snprintf(base, sizeof base, "%s", text + 1);
  base[strcspn(base, "]")] = 0;
  char* plus = strchr(base, '+');
  int64_t offset = 0;
  if (plus != NULL) {
    *plus = 0;
    offset = strtoll(plus + 1, NULL, 0);
  }
  const char* param = strstr(base, "_param_");
  struct operand found = {.kind = PARAM};
  if (base[0] != '%' && param != NULL) found.value = (uint64_t)atoi(param + 7);
  else found = operand_of(code, base);
  found.plus = offset;
  return found;
}

static bool is_type(const char* part) {
  return strcmp(part, "pred") == 0 || (strchr("sufb", part[0]) != NULL && isdigit((unsigned char)part[1]));
}

static void split_name(struct instruction* made, char* name) {
  char* part = strtok(name, ".:");
  for (made->op = 0; made->op < OPS && strcmp(names[made->op], part) != 0; ++made->op) continue;
  if (made->op == OPS) stop("no such instruction", part);
  while ((part = strtok(NULL, ".:")) != NULL) {
    if (made->part_count == MOST_PARTS) stop("too many parts", part);
    snprintf(made->parts[made->part_count++], sizeof made->parts[0], "%s", part);
    if (is_type(part)) {
      made->from = made->type; /* swapped below */
      made->from_bits = made->bits;
      made->type = part[0];
      made->bits = part[0] == 'p' ? 1 : atoi(part + 1);
    }
    if (strcmp(part, "hi") == 0) made->high = true;
    if (strcmp(part, "wide") == 0) made->wide = true;
    if (strcmp(part, "rm") == 0) made->down = true;
    if (strcmp(part, "sat") == 0) made->saturated = true;
    if (strcmp(part, "global") == 0 || strcmp(part, "shared") == 0 || strcmp(part, "param") == 0 ||
        strcmp(part, "local") == 0) {
      made->space = part[0];
    }
  }
  if (made->op == CVT) { /* the first type is the result's */
    char type = made->type;
    int bits = made->bits;
    made->type = made->from;
    made->bits = made->from_bits;
    made->from = type;
    made->from_bits = bits;
  }
  if (made->op == SETP) memcpy(made->compare, made->parts[0], sizeof made->compare - 1);
}

static void declare(struct code* code, const char* text) {
  char name[200] = "";
  int number = 0;
  if (strncmp(text, ".reg", 4) == 0) {
    const char* at = strchr(text, '%');
    if (at == NULL) {
      if (sscanf(text, ".reg %*s %23s", name) != 1) stop("reg", text);
      for (int i = 0; i < code->class_count; ++i) { /* a name of an earlier block */
        if (strcmp(code->classes[i].name, name) == 0) return;
      }
    } else if (sscanf(at, "%%%23[a-zA-Z]", name) != 1) {
      stop("reg", text);
    }
    if (code->class_count == CLASSES) stop("too many registers", text);
    if (at != NULL && strchr(at, '<') != NULL) number = atoi(strchr(at, '<') + 1);
    snprintf(code->classes[code->class_count].name, 24, "%.23s", name);
    code->classes[code->class_count++].first = code->registers;
    code->registers += number > 0 ? number : 1;
    return;
  }
  bool local = strncmp(text, ".local", 6) == 0;
  if (!local && strncmp(text, ".shared", 7) != 0) return; /* .loc, .pragma */
  const char* type = strrchr(text, '.') + 1;
  if (sscanf(type, "%*s %199[^[]", name) != 1) stop("variable", text);
  const char* size = strchr(type, '[');
  uint64_t bytes = (uint64_t)atoi(type + 1) / 8;
  for (const char* p = size; p != NULL; p = strchr(p + 1, '[')) bytes *= strtoull(p + 1, NULL, 0);
  uint64_t* total = local ? &code->local : &code->shared;
  *total = (*total + 63) / 64 * 64;
  if (code->symbol_count == SYMBOLS) stop("too many variables", text);
  snprintf(code->symbols[code->symbol_count].name, 200, "%s", name);
  code->symbols[code->symbol_count].local = local;
  code->symbols[code->symbol_count++].offset = *total;
  *total += bytes;
}

static struct instruction read_instruction(struct code* code, char* text) {
  struct instruction made = {.predicate = -1};
  if (*text == '@') {
    char guard[32];
    int used = 0;
    sscanf(text, "@%31s%n", guard, &used);
    made.negated = guard[0] == '!';
    made.predicate = register_of(code, guard + made.negated);
    text += used;
    while (isspace((unsigned char)*text)) ++text;
  }
  char name[64], *rest = text + strcspn(text, " \t\n");
  snprintf(name, sizeof name, "%.*s", (int)(rest - text), text);
  split_name(&made, name);
  char word[200];
  while (*rest != 0) {
    while (isspace((unsigned char)*rest) || *rest == ',' || *rest == '|') ++rest;
    if (*rest == 0) break;
    size_t size = *rest == '{' ? strcspn(rest, "}") + 1 : strcspn(rest, ",|");
    snprintf(word, sizeof word, "%.*s", (int)size, rest);
    rest += size;
    for (size_t end = strlen(word); end > 0 && isspace((unsigned char)word[end - 1]);) word[--end] = 0;
    if (made.op == BRA) snprintf(made.label, sizeof made.label, "%.47s", word);
    else if (made.count == MOST_OPERANDS) stop("too many operands", text);
    else made.operands[made.count++] = operand_of(code, word);
  }
  return made;
}

static struct code* read_code(const struct kernel* kernel) {
  struct code* code = calloc(1, sizeof *code);
  struct { char name[48]; int at; } labels[LABELS];
  int label_count = 0, room = 0;
  code->dynamic = strstr(kernel->module->text, ".extern .shared") != NULL;
  char statement[512];
  int depth = 1; /* of braces: inline assembly has some of its own */
  for (const char* p = kernel->body + 1; *p != 0;) {
    if (*p == '{') ++depth;
    if (*p == '}' && --depth == 0) break;
    if (isspace((unsigned char)*p) || *p == '{' || *p == '}') {
      ++p;
      continue;
    }
    if (p[0] == '/' && p[1] == '/') {
      p += strcspn(p, "\n");
      continue;
    }
    size_t size = strcspn(p, ";:");
    /* A colon inside of an instruction is part of its name. */
    if (p[size] == ':' && *p != '$') size = strcspn(p, ";");
    snprintf(statement, sizeof statement, "%.*s", (int)size, p);
    bool label = p[size] == ':';
    p += size + 1;
    if (label) {
      if (label_count == LABELS) stop("too many labels", statement);
      snprintf(labels[label_count].name, 48, "%.47s", statement);
      labels[label_count++].at = code->count;
    } else if (statement[0] == '.') {
      declare(code, statement);
    } else {
      if (code->count == room) {
        room = room * 2 + 256;
        code->at = realloc(code->at, (size_t)room * sizeof *code->at);
      }
      code->at[code->count++] = read_instruction(code, statement);
    }
  }
  for (int i = 0; i < code->count; ++i) {
    if (code->at[i].op != BRA) continue;
    int which = 0;
    while (which < label_count && strcmp(labels[which].name, code->at[i].label) != 0) ++which;
    if (which == label_count) stop("no such label", code->at[i].label);
    code->at[i].target = labels[which].at;
  }
  return code;
}

void fake_ptx_free(struct code* code) {
  if (code != NULL) free(code->at);
  free(code);
}

enum state { RUNS, AT_SHUFFLE, AT_BARRIER, ENDED };
struct thread { int pc; enum state state; uint64_t* registers; char* local; };
struct run {
  const struct code* code;
  const uint64_t* params;
  const unsigned *grid, *block;
  unsigned index[3]; /* of the block */
  char* shared;
  uint64_t shared_bytes;
  struct thread* threads;
  unsigned count, now;
};

static uint64_t mask(int bits) { return bits >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1; }
static int64_t sign(uint64_t value, int bits) {
  return bits >= 64 ? (int64_t)value : (int64_t)(value << (64 - bits)) >> (64 - bits);
}
static float real(uint64_t value, int bits) {
  float found = 0;
  _Float16 half;
  if (bits == 32) {
    memcpy(&found, &value, 4);
  } else if (bits == 16) {
    memcpy(&half, &value, 2);
    found = (float)half;
  } else {
    stop("unknown", "doubles");
  }
  return found;
}
static uint64_t bits_of(float value, int bits) {
  uint64_t found = 0;
  _Float16 half = (_Float16)value;
  if (bits == 32) memcpy(&found, &value, 4);
  else if (bits == 16) memcpy(&found, &half, 2);
  else stop("unknown", "doubles");
  return found;
}

static uint64_t get(const struct run* run, const struct operand* operand) {
  const struct thread* thread = &run->threads[run->now];
  const unsigned* block = run->block;
  switch (operand->kind) {
    case REGISTER: return thread->registers[operand->value];
    case NUMBER: return operand->value;
    case SHARED: return (uint64_t)(uintptr_t)run->shared + operand->value;
    case LOCAL: return (uint64_t)(uintptr_t)thread->local + operand->value;
    case SPECIAL:
      switch (operand->value) {
        case 0: return run->now % block[0];
        case 1: return run->now / block[0] % block[1];
        case 2: return run->now / block[0] / block[1];
        case 3: case 4: case 5: return block[operand->value - 3];
        case 6: case 7: case 8: return run->index[operand->value - 6];
        default: return run->now % WARP;
      }
    default: stop("cannot be read", "an operand");
  }
}

static void set(const struct run* run, const struct operand* operand, uint64_t value) {
  run->threads[run->now].registers[operand->value] = value;
}

static char* place(const struct run* run, const struct instruction* each, const struct operand* at,
                   size_t size) {
  char* there = (char*)(uintptr_t)(get(run, at) + (uint64_t)at->plus);
  bool good = each->space == 'g'   ? fake_cuda_holds(there, size)
              : each->space == 's' ? there >= run->shared &&
                                         there + size <= run->shared + run->shared_bytes
                                   : true;
  if (!good) stop("an address outside of all memory", names[each->op]);
  return there;
}

static void move(const struct run* run, const struct instruction* each) {
  bool load = each->op == LD;
  const struct operand *to = &each->operands[!load], *at = &each->operands[load];
  size_t size = (size_t)each->bits / 8;
  int count = to->count > 0 ? to->count : 1;
  if (each->space == 'p') {
    set(run, to, run->params[at->value] & mask(each->bits));
    return;
  }
  char* there = place(run, each, at, size * (size_t)count);
  uint64_t* registers = run->threads[run->now].registers;
  for (int i = 0; i < count; ++i) {
    uint64_t value = 0;
    if (load) {
      memcpy(&value, there + (size_t)i * size, size);
      registers[to->count > 0 ? (uint64_t)to->vector[i] : to->value] = value;
    } else {
      value = to->count > 0 ? registers[to->vector[i]] : get(run, to);
      memcpy(there + (size_t)i * size, &value, size);
    }
  }
}

static float compute_real(const struct instruction* each, float a, float b, float c) {
  switch (each->op) {
    case ADD: return a + b;
    case SUB: return a - b;
    case MUL: return a * b;
    case DIV: return a / b;
    case MAX: return fmaxf(a, b);
    case MIN: return fminf(a, b);
    case NEG: return -a;
    case ABS: return fabsf(a);
    case RCP: return 1.0f / a;
    case SQRT: return sqrtf(a);
    case RSQRT: return 1.0f / sqrtf(a);
    case EX2: return exp2f(a);
    case LG2: return log2f(a);
    case MAD:
    case FMA: {
      if (!each->down) return fmaf(a, b, c);
      volatile float x = a, y = b, z = c; /* computed now, with this rounding */
      fesetround(FE_DOWNWARD);
      volatile float found = fmaf(x, y, z);
      fesetround(FE_TONEAREST);
      return found;
    }
    default: stop("not for floats", names[each->op]);
  }
}

static uint64_t compute(const struct instruction* each, uint64_t a, uint64_t b, uint64_t c) {
  int bits = each->bits;
  bool is_signed = each->type == 's';
  int64_t x = sign(a, bits), y = sign(b, bits);
  switch (each->op) {
    case ADD: return a + b;
    case SUB: return a - b;
    case MUL:
    case MAD: {
      __int128 product = is_signed ? (__int128)x * y
                                   : (__int128)((unsigned __int128)(a & mask(bits)) * (b & mask(bits)));
      if (each->high) product >>= bits;
      return (uint64_t)product + (each->op == MAD ? c : 0);
    }
    case DIV: return is_signed ? (uint64_t)(x / y) : (a & mask(bits)) / (b & mask(bits));
    case REM: return is_signed ? (uint64_t)(x % y) : (a & mask(bits)) % (b & mask(bits));
    case MAX: return is_signed ? (uint64_t)(x > y ? x : y) : (a > b ? a : b);
    case MIN: return is_signed ? (uint64_t)(x < y ? x : y) : (a < b ? a : b);
    case NEG: return (uint64_t)-x;
    case ABS: return (uint64_t)(x < 0 ? -x : x);
    case AND: return a & b;
    case OR: return a | b;
    case XOR: return a ^ b;
    case NOT: return ~a;
    case SHL: return (b & 0xFFFFFFFF) >= (uint64_t)bits ? 0 : a << (b & 63);
    case SHR: {
      uint64_t by = (b & 0xFFFFFFFF) >= (uint64_t)bits ? (uint64_t)bits - 1 : b & 63;
      if (is_signed) return (uint64_t)(x >> by);
      return (b & 0xFFFFFFFF) >= (uint64_t)bits ? 0 : (a & mask(bits)) >> by;
    }
    case BFE: {
      uint64_t found = (a & mask(bits)) >> (b & 0xFF) & mask((int)(c & 0xFF));
      return is_signed ? (uint64_t)sign(found, (int)(c & 0xFF)) : found;
    }
    default: stop("not for integers", names[each->op]);
  }
}

static bool compared(const struct instruction* each, uint64_t a, uint64_t b) {
  int order; /* -1, 0, 1; 2: not comparable */
  if (each->type == 'f') {
    float x = real(a, each->bits), y = real(b, each->bits);
    order = x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
  } else if (each->type == 's') {
    int64_t x = sign(a, each->bits), y = sign(b, each->bits);
    order = (x > y) - (x < y);
  } else {
    order = ((a & mask(each->bits)) > (b & mask(each->bits))) -
            ((a & mask(each->bits)) < (b & mask(each->bits)));
  }
  const char* name = each->compare;
  if (order == 2) return name[2] == 'u' || strcmp(name, "nan") == 0;
  if (strncmp(name, "eq", 2) == 0) return order == 0;
  if (strncmp(name, "ne", 2) == 0) return order != 0;
  if (strncmp(name, "lt", 2) == 0 || strcmp(name, "lo") == 0) return order < 0;
  if (strncmp(name, "le", 2) == 0 || strcmp(name, "ls") == 0) return order <= 0;
  if (strncmp(name, "gt", 2) == 0 || strcmp(name, "hi") == 0) return order > 0;
  if (strncmp(name, "ge", 2) == 0 || strcmp(name, "hs") == 0) return order >= 0;
  if (strcmp(name, "num") == 0) return true;
  if (strcmp(name, "nan") == 0) return false;
  stop("no such comparison", name);
}

static uint64_t converted(const struct instruction* each, uint64_t value) {
  bool to_real = each->type == 'f', from_real = each->from == 'f';
  if (to_real && from_real) {
    float x = real(value, each->from_bits);
    for (int i = 0; i < each->part_count; ++i) {
      if (strcmp(each->parts[i], "rmi") == 0) x = floorf(x);
      if (strcmp(each->parts[i], "rpi") == 0) x = ceilf(x);
      if (strcmp(each->parts[i], "rni") == 0) x = rintf(x);
      if (strcmp(each->parts[i], "rzi") == 0) x = truncf(x);
    }
    if (each->saturated) x = x > 0 ? fminf(x, 1.0f) : 0.0f;
    return bits_of(x, each->bits);
  }
  if (to_real) {
    float x = each->from == 's' ? (float)sign(value, each->from_bits)
                                : (float)(value & mask(each->from_bits));
    return bits_of(x, each->bits);
  }
  if (from_real) {
    float x = real(value, each->from_bits);
    for (int i = 0; i < each->part_count; ++i) {
      if (strcmp(each->parts[i], "rni") == 0) x = rintf(x);
      if (strcmp(each->parts[i], "rmi") == 0) x = floorf(x);
      if (strcmp(each->parts[i], "rpi") == 0) x = ceilf(x);
    }
    return each->type == 's' ? (uint64_t)(int64_t)x & mask(each->bits)
                             : (uint64_t)x & mask(each->bits);
  }
  if (each->from == 's') value = (uint64_t)sign(value, each->from_bits);
  else value &= mask(each->from_bits);
  return value & mask(each->bits);
}

/* One instruction of a thread; shuffles and barriers are done when all are there. */
static void step(struct run* run) {
  struct thread* thread = &run->threads[run->now];
  const struct instruction* each = &run->code->at[thread->pc];
  const struct operand* given = each->operands;
  if (each->predicate >= 0 && (thread->registers[each->predicate] != 0) == each->negated) {
    ++thread->pc;
    return;
  }
  switch (each->op) {
    case RET: thread->state = ENDED; return;
    case BAR: thread->state = AT_BARRIER; return;
    case SHFL: thread->state = AT_SHUFFLE; return;
    case BRA: thread->pc = each->target; return;
    case ACTIVEMASK: set(run, given, 0xFFFFFFFF); break;
    case LD:
    case ST: move(run, each); break;
    case MOV:
    case CVTA: set(run, given, get(run, &given[1]) & mask(each->bits)); break;
    case CVT: set(run, given, converted(each, get(run, &given[1]))); break;
    case SELP: set(run, given, get(run, &given[get(run, &given[3]) != 0 ? 1 : 2])); break;
    case SETP:
      if (each->count != 3) stop("setp with", "a combination");
      set(run, given, compared(each, get(run, &given[1]), get(run, &given[2])));
      break;
    case BFI: {
      int begin = (int)get(run, &given[3]) & 0xFF, count = (int)get(run, &given[4]) & 0xFF;
      uint64_t where = mask(count) << begin & mask(each->bits);
      set(run, given, (get(run, &given[2]) & ~where) | (get(run, &given[1]) << begin & where));
      break;
    }
    default: {
      uint64_t a = get(run, &given[1]);
      uint64_t b = each->count > 2 ? get(run, &given[2]) : 0;
      uint64_t c = each->count > 3 ? get(run, &given[3]) : 0;
      if (each->type != 'f') {
        set(run, given, compute(each, a, b, c) & mask(each->wide ? each->bits * 2 : each->bits));
        break;
      }
      int bits = each->bits;
      float found = compute_real(each, real(a, bits), real(b, bits), real(c, bits));
      if (each->saturated) found = found > 0 ? fminf(found, 1.0f) : 0.0f;
      set(run, given, bits_of(found, bits));
    }
  }
  ++thread->pc;
}

static void shuffle(struct run* run, unsigned first, unsigned end, int pc) {
  const struct instruction* each = &run->code->at[pc];
  uint64_t values[WARP], found[WARP];
  for (unsigned i = first; i < end; ++i) {
    run->now = i;
    values[i - first] = get(run, &each->operands[1]);
  }
  for (unsigned i = first; i < end; ++i) {
    if (run->threads[i].state != AT_SHUFFLE || run->threads[i].pc != pc) continue;
    run->now = i;
    int lane = (int)(i - first), by = (int)get(run, &each->operands[2]) & 31;
    int c = (int)get(run, &each->operands[3]), segment = c >> 8 & 31;
    int most = (lane & segment) | (c & 31 & ~segment), from;
    const char* mode = each->parts[0];
    if (strcmp(mode, "sync") == 0) mode = each->parts[1];
    if (strcmp(mode, "down") == 0) from = lane + by <= most ? lane + by : lane;
    else if (strcmp(mode, "up") == 0) from = lane - by >= most ? lane - by : lane;
    else if (strcmp(mode, "bfly") == 0) from = (lane ^ by) <= most ? lane ^ by : lane;
    else from = ((lane & segment) | (by & ~segment)) <= most ? (lane & segment) | (by & ~segment) : lane;
    bool there = (unsigned)from < end - first && run->threads[first + (unsigned)from].pc == pc &&
                 run->threads[first + (unsigned)from].state == AT_SHUFFLE;
    found[lane] = values[there ? from : lane];
  }
  for (unsigned i = first; i < end; ++i) {
    struct thread* thread = &run->threads[i];
    if (thread->state != AT_SHUFFLE || thread->pc != pc) continue;
    run->now = i;
    set(run, &each->operands[0], found[i - first]);
    thread->state = RUNS;
    ++thread->pc;
  }
}

/* Runs a warp until all of its threads wait at a barrier or have ended. */
static void run_warp(struct run* run, unsigned first, unsigned end) {
  for (;;) {
    int pc = -1;
    for (run->now = first; run->now < end; ++run->now) {
      struct thread* thread = &run->threads[run->now];
      while (thread->state == RUNS) step(run);
    }
    for (unsigned i = first; i < end; ++i) {
      if (run->threads[i].state == AT_SHUFFLE && (pc < 0 || run->threads[i].pc < pc)) {
        pc = run->threads[i].pc;
      }
    }
    if (pc < 0) return;
    shuffle(run, first, end, pc);
  }
}

static void run_block(struct run* run) {
  for (unsigned i = 0; i < run->count; ++i) {
    run->threads[i].pc = 0;
    run->threads[i].state = RUNS;
  }
  memset(run->shared, 0xA5, run->shared_bytes);
  for (bool waiting = true; waiting;) {
    waiting = false;
    for (unsigned first = 0; first < run->count; first += WARP) {
      run_warp(run, first, first + WARP < run->count ? first + WARP : run->count);
    }
    for (unsigned i = 0; i < run->count; ++i) {
      if (run->threads[i].state != AT_BARRIER) continue;
      run->threads[i].state = RUNS;
      ++run->threads[i].pc;
      waiting = true;
    }
  }
}

void fake_ptx_run(const struct kernel* kernel, const unsigned* grid, const unsigned* block,
                  unsigned shared, const uint64_t* params) {
  if (kernel->code == NULL) ((struct kernel*)kernel)->code = read_code(kernel);
  const struct code* code = kernel->code;
  struct run run = {.code = code, .params = params, .grid = grid, .block = block};
  run.count = block[0] * block[1] * block[2];
  run.shared_bytes = code->shared + shared;
  run.shared = calloc(1, run.shared_bytes + 64);
  run.threads = calloc(run.count, sizeof *run.threads);
  uint64_t* registers = calloc((size_t)run.count * (size_t)code->registers, sizeof *registers);
  char* local = calloc(run.count, code->local + 64);
  for (unsigned i = 0; i < run.count; ++i) {
    run.threads[i].registers = registers + (size_t)i * (size_t)code->registers;
    run.threads[i].local = local + (size_t)i * (code->local + 64);
  }
  for (run.index[2] = 0; run.index[2] < grid[2]; ++run.index[2]) {
    for (run.index[1] = 0; run.index[1] < grid[1]; ++run.index[1]) {
      for (run.index[0] = 0; run.index[0] < grid[0]; ++run.index[0]) run_block(&run);
    }
  }
  free(local);
  free(registers);
  free(run.threads);
  free(run.shared);
}
