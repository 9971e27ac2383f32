// A module of one function, that an exported library can carry: a region of the model for another
// engine. It knows nothing of engines: the global function "tvmkd.region.open", which Python
// registers, makes of its bytes what runs them.
//
// https://tvm.apache.org/ffi/ (Module, "ffi.Module.load_from_bytes.<kind>")

#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>

#include <mutex>
#include <string>

namespace tvmkd {

namespace ffi = tvm::ffi;

constexpr const char* kKind = "tvmkd_region";
constexpr const char* kOpen = "tvmkd.region.open";

class RegionObj : public ffi::ModuleObj {
 public:
  RegionObj(std::string symbol, ffi::Bytes region)
      : symbol_(std::move(symbol)), region_(std::move(region)) {}

  const char* kind() const final { return kKind; }

  int GetPropertyMask() const final {
    return ffi::Module::kBinarySerializable | ffi::Module::kRunnable;
  }

  ffi::Optional<ffi::Function> GetFunction(const ffi::String& name) final {
    if (std::string(name.data(), name.size()) != symbol_) return std::nullopt;
    ffi::ObjectPtr<RegionObj> self =
        ffi::details::ObjectUnsafe::ObjectPtrFromUnowned<RegionObj>(this);
    return ffi::Function::FromPacked(
        [self](ffi::PackedArgs args, ffi::Any* result) { self->Engine().CallPacked(args, result); });
  }

  // The symbol, a NUL (no symbol has one), the region.
  ffi::Bytes SaveToBytes() const final {
    return ffi::Bytes(symbol_ + '\0' + std::string(region_.data(), region_.size()));
  }

  static ffi::Module Make(const ffi::String& symbol, const ffi::Bytes& region) {
    return ffi::Module(
        ffi::make_object<RegionObj>(std::string(symbol.data(), symbol.size()), region));
  }

  // Opened at once: what is wrong with it is said where the library is loaded, and the first run
  // takes no longer than the others.
  static ffi::Module Load(const ffi::Bytes& saved) {
    std::string all(saved.data(), saved.size());
    size_t end = all.find('\0');
    TVM_FFI_CHECK(end != std::string::npos, ValueError) << kKind << ": the region has no name";
    ffi::ObjectPtr<RegionObj> self =
        ffi::make_object<RegionObj>(all.substr(0, end), ffi::Bytes(all.substr(end + 1)));
    self->Engine();
    return ffi::Module(self);
  }

 private:
  ffi::Function Engine() {
    std::lock_guard<std::mutex> held(mutex_);
    if (engine_ == nullptr) {
      engine_ = ffi::Function::GetGlobalRequired(kOpen)(region_).cast<ffi::Function>();
    }
    return engine_;
  }

  std::string symbol_;
  ffi::Bytes region_;
  ffi::Function engine_{nullptr};
  std::mutex mutex_;
};

TVM_FFI_STATIC_INIT_BLOCK() {
  namespace refl = tvm::ffi::reflection;
  refl::GlobalDef().def("tvmkd.region.make", RegionObj::Make);
  refl::GlobalDef().def("tvmkd.region.load", RegionObj::Load);
}

}  // namespace tvmkd
