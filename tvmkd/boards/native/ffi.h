/* The little of tvm_ffi's C ABI that a server needs. */
#ifndef TVMKD_FFI_H_
#define TVMKD_FFI_H_

#include <string.h>
#include <tvm/ffi/c_api.h>

static inline TVMFFIByteArray ffi_bytes(const char* text) {
  TVMFFIByteArray bytes = {text, strlen(text)};
  return bytes;
}

static inline TVMFFIAny ffi_int(int64_t value) {
  TVMFFIAny any = {.type_index = kTVMFFIInt, .v_int64 = value};
  return any;
}

static inline TVMFFIAny ffi_text(const char* text) {
  TVMFFIAny any = {.type_index = kTVMFFIRawStr, .v_c_str = text};
  return any;
}

/* Lets go of a value that a call has returned. */
static inline void ffi_release(TVMFFIAny* any) {
  if (any->type_index >= kTVMFFIStaticObjectBegin) TVMFFIObjectDecRef(any->v_obj);
  any->type_index = kTVMFFINone;
}

/* The text of a string argument, NULL where it is none; good while the argument lives. */
static inline const char* ffi_chars(const TVMFFIAny* any) {
  switch (any->type_index) {
    case kTVMFFIRawStr:
      return any->v_c_str;
    case kTVMFFISmallStr:
      return any->v_bytes;
    case kTVMFFIStr:
      return ((const TVMFFIByteArray*)((const char*)any->v_obj + sizeof(TVMFFIObject)))->data;
    default:
      return NULL;
  }
}

/* Calls a global function; -1 where there is none or it raises (the error stays raised). */
static inline int ffi_call(const char* name, TVMFFIAny* args, int count, TVMFFIAny* result) {
  TVMFFIObjectHandle function = NULL;
  TVMFFIByteArray bytes = ffi_bytes(name);
  memset(result, 0, sizeof *result);
  if (TVMFFIFunctionGetGlobal(&bytes, &function) != 0 || function == NULL) {
    TVMFFIErrorSetRaisedFromCStr("RuntimeError", "a function of TVM's is missing");
    return -1;
  }
  int code = TVMFFIFunctionCall(function, args, count, result);
  TVMFFIObjectDecRef(function);
  return code;
}

/* Registers a global function, in the place of one that is there. */
static inline int ffi_register(const char* name, TVMFFISafeCallType call) {
  TVMFFIObjectHandle function = NULL;
  TVMFFIByteArray bytes = ffi_bytes(name);
  if (TVMFFIFunctionCreate(NULL, call, NULL, &function) != 0) return -1;
  int code = TVMFFIFunctionSetGlobal(&bytes, function, 1);
  TVMFFIObjectDecRef(function);
  return code;
}

static inline int ffi_return_text(const char* text, TVMFFIAny* result) {
  TVMFFIByteArray bytes = ffi_bytes(text);
  return TVMFFIStringFromByteArray(&bytes, result);
}

static inline int ffi_raise(const char* message) {
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", message);
  return -1;
}

#endif
