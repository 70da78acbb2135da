// A device "npu" that computes on the CPU: torch's PrivateUse1 backend with memory of its own kind,
// the few kernels that a backend must bring, and a boxed fallback for all others.
//
// What it is for: tensors carry the device npu, so whatever names CUDA, or mixes devices, fails here
// as it would on an Ascend NPU. Random numbers are the CPU generator's: results equal the CPU's.

#include <atomic>
#include <cstdlib>
#include <set>
#include <sstream>
#include <string>

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/DispatchStub.h>
#include <ATen/native/Resize.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/native/transformers/sdp_utils_cpp.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

namespace {

constexpr c10::DeviceType NPU = c10::DeviceType::PrivateUse1;
const c10::Device DEVICE(NPU, 0);

// Memory ------------------------------------------------------------------------------------------

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* data = c10::alloc_cpu(size);
    return {data, data, &c10::free_cpu, DEVICE};
  }
  c10::DeleterFnPtr raw_deleter() const override {
    return &c10::free_cpu;
  }
  void copy_data(void* to, const void* from, std::size_t count) const override {
    default_copy_data(to, from, count);
  }
};

Memory memory;
REGISTER_ALLOCATOR(NPU, &memory)

// Device: one, whose streams and events wait for nothing ------------------------------------------

struct Guard final : c10::impl::NoOpDeviceGuardImpl<NPU> {
  c10::Device getDevice() const override {
    return DEVICE;
  }
  c10::Device exchangeDevice(c10::Device) const override {
    return DEVICE;
  }
  c10::Stream getStream(c10::Device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, DEVICE);
  }
  c10::Stream getDefaultStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, DEVICE);
  }
  c10::Stream exchangeStream(c10::Stream) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, DEVICE);
  }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag)
      const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override {
    return true;
  }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override {
    return true;
  }
  bool isAvailable() const override {
    return true;
  }
  bool hasPrimaryContext(c10::DeviceIndex) const override {
    return true;
  }
  c10::DeviceIndex deviceCount() const override {
    return 1;
  }
  c10::DeviceIndex getCurrentDevice() const override {
    return 0;
  }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override {
    return 0;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override {
    return 0;
  }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    return at::getCPUAllocator();
  }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t size) const override {
    at::native::resize_bytes_cpu(storage.unsafeGetStorageImpl(), size);
  }
};

[[maybe_unused]] const bool hooked = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return true;
}();

// Kernels that a backend must bring ---------------------------------------------------------------

at::Tensor empty(
    at::IntArrayRef size,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>,
    std::optional<at::Device>,
    std::optional<bool>,
    std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(
      size, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(
    at::IntArrayRef size,
    at::IntArrayRef stride,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>,
    std::optional<at::Device>,
    std::optional<bool>) {
  return at::detail::empty_strided_generic(
      size, stride, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype));
}

// The same memory as a CPU tensor; lives no longer than ``tensor``.
at::Tensor on_cpu(const at::Tensor& tensor) {
  if (tensor.is_cpu()) {
    return tensor;
  }
  return at::from_blob(
      tensor.data_ptr(), tensor.sizes(), tensor.strides(), tensor.options().device(at::kCPU));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  on_cpu(to).copy_(on_cpu(from));
  return to;
}

const at::Tensor& resize_(
    const at::Tensor& self, at::IntArrayRef size, std::optional<at::MemoryFormat>) {
  at::native::resize_impl_cpu_(self.unsafeGetTensorImpl(), size, std::nullopt);
  return self;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (from.sizes() != to.sizes()) {
    resize_(to, from.sizes(), std::nullopt);
  }
  return copy_from(from, to, false);
}

at::Tensor& set_storage_offset_(
    at::Tensor& self,
    at::Storage from,
    int64_t offset,
    at::IntArrayRef size,
    at::IntArrayRef stride) {
  at::TensorImpl* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(from));
  impl->set_storage_offset(offset);
  at::native::resize_impl_cpu_(
      impl, size, stride.empty() ? at::OptionalIntArrayRef() : at::OptionalIntArrayRef(stride));
  return self;
}

at::Tensor& set_storage_(at::Tensor& self, at::Storage from) {
  const auto size = static_cast<int64_t>(from.nbytes() / self.dtype().itemsize());
  return set_storage_offset_(self, std::move(from), 0, {size}, {});
}

at::Tensor& set_tensor_(at::Tensor& self, const at::Tensor& from) {
  return set_storage_offset_(
      self, from.storage(), from.storage_offset(), from.sizes(), from.strides());
}

// Attention: no fused kernel, so matrix products and a softmax.
int64_t plain_attention(
    const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
    double, bool, std::optional<double>, bool) {
  return static_cast<int64_t>(at::SDPBackend::math);
}

// What the NPU has --------------------------------------------------------------------------------

std::atomic<int64_t> num_calls{0};

// Names of operators (aten::_ctc_loss), or float64, that this NPU shall not have.
const std::set<std::string>& lacking() {
  static const std::set<std::string> names = [] {
    const char* text = std::getenv("SIMULATED_NPU_LACKS");
    std::istringstream lines(text == nullptr ? "" : text);
    std::set<std::string> found;
    for (std::string name; std::getline(lines, name, ',');) {
      found.insert(name);
    }
    return found;
  }();
  return names;
}

// Accelerators take indices from the CPU, and nothing else that is not a single number.
const std::set<std::string> CPU_INDICES = {
    "aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"};

// Count a call, and refuse what an NPU would refuse.
void count(const std::string& name, at::ArrayRef<at::Tensor> tensors) {
  ++num_calls;
  TORCH_CHECK_NOT_IMPLEMENTED(!lacking().count(name), "the NPU has no ", name);
  for (const at::Tensor& tensor : tensors) {
    if (!tensor.defined()) {
      continue;
    }
    TORCH_CHECK(
        !tensor.is_cpu() || tensor.dim() == 0 || CPU_INDICES.count(name),
        "Expected all tensors to be on the same device, but ", name,
        " got one on cpu beside those on npu");
    TORCH_CHECK_NOT_IMPLEMENTED(
        tensor.is_cpu() || tensor.scalar_type() != at::kDouble || !lacking().count("float64"),
        "the NPU has no float64, for which ", name, " was called");
  }
}

// Convolutions ask a backend for these two, and do not fall back.
at::Tensor convolution(
    const at::Tensor& input,
    const at::Tensor& weight,
    const std::optional<at::Tensor>& bias,
    at::IntArrayRef stride,
    at::IntArrayRef padding,
    at::IntArrayRef dilation,
    bool transposed,
    at::IntArrayRef output_padding,
    int64_t groups) {
  count("aten::convolution", {input, weight, bias.value_or(at::Tensor())});
  const std::optional<at::Tensor> shift =
      bias && bias->defined() ? std::optional(on_cpu(*bias)) : std::nullopt;
  return at::convolution(
             on_cpu(input), on_cpu(weight), shift, stride, padding, dilation, transposed,
             output_padding, groups)
      .to(DEVICE);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient,
    const at::Tensor& input,
    const at::Tensor& weight,
    at::IntArrayRef stride,
    at::IntArrayRef padding,
    at::IntArrayRef dilation,
    bool transposed,
    at::IntArrayRef output_padding,
    int64_t groups,
    std::array<bool, 3> wanted) {
  count("aten::convolution_backward", {gradient, input, weight});
  auto [to_input, to_weight, to_bias] = at::convolution_backward(
      on_cpu(gradient), on_cpu(input), on_cpu(weight), at::IntArrayRef({gradient.size(1)}), stride,
      padding, dilation, transposed, output_padding, groups, wanted);
  const auto back = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.to(DEVICE) : tensor;
  };
  return {back(to_input), back(to_weight), back(to_bias)};
}

// All others: operands to the CPU, the CPU's kernel, results back ---------------------------------

void fall_back(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& value : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (value.isTensor()) {
      tensors.push_back(value.toTensor());
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) {
        tensors.push_back(tensor);
      }
    }
  }
  count(op.schema().name(), tensors);
  at::native::cpu_fallback(op, stack);
}

} // namespace

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(_fused_sdp_choice_stub, &plain_attention)
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fall_back>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("resize_", &resize_);
  m.impl("set_.source_Storage", &set_storage_);
  m.impl("set_.source_Storage_storage_offset", &set_storage_offset_);
  m.impl("set_.source_Tensor", &set_tensor_);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("view_as_real", &at::native::view_as_real);
  m.impl("view_as_complex", &at::native::view_as_complex);
}

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFallthrough());
}

// Mixed precision: what models spend their time in.
TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  KERNEL_PRIVATEUSEONE(linear, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(matmul, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(conv1d, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(scaled_dot_product_attention, lower_precision_fp)
}

TORCH_LIBRARY(simulated_npu, m) {
  m.def("num_calls() -> int", []() -> int64_t { return num_calls; });
}
