/* A profiler's library as far as NVTX goes, by NVIDIA's own types: writes the names of ranges. */
#include <nvtx3/nvToolsExt.h>
#include <stdio.h>
#include <stdlib.h>

static FILE *out;

static int push(const char *name) {
  fprintf(out, "+ %s\n", name);
  return 0;
}

static int pop(void) {
  fprintf(out, "-\n");
  return 0;
}

int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t give) {
  const NvtxExportTableVersionInfo *version = give(NVTX_ETID_VERSIONINFO);
  const NvtxExportTableCallbacks *callbacks = give(NVTX_ETID_CALLBACKS);
  if (!version || version->struct_size < sizeof *version || version->version < 3) return 0;
  if (!callbacks || callbacks->struct_size < sizeof *callbacks) return 0;
  version->SetInjectionNvtxVersion(3);
  NvtxFunctionTable table = NULL;
  unsigned size = 0;
  /* Nsight Systems takes what there is of every module. */
  for (int module = NVTX_CB_MODULE_CORE; module < NVTX_CB_MODULE_SIZE; module++)
    if (!callbacks->GetModuleFunctionTable((NvtxCallbackModule)module, &table, &size)) return 0;
  if (callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_SIZE, &table, &size)) return 0;
  callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &size);
  if (size < NVTX_CBID_CORE_SIZE || getenv("FAKE_NVTX_REFUSES")) return 0;
  *table[NVTX_CBID_CORE_RangePushA] = (NvtxFunctionPointer)push;
  *table[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)pop;
  out = fopen(getenv("FAKE_NVTX_LOG"), "w");
  if (out) setvbuf(out, NULL, _IOLBF, 0);
  return out != NULL;
}
