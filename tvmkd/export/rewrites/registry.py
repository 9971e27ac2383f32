"""Which function lowers which operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tvmkd.export.rewrites import (
    attention,
    control_flow,
    elementwise,
    fused,
    indexing,
    normalisation,
    quantised,
    quantised_fused,
    reducing,
    signal,
    spatial,
)
from tvmkd.export.rewrites.function_bodies import function_body
from tvmkd.export.rewrites.recurrent import recurrent
from tvmkd.export.rewrites.resizing import resize
from tvmkd.export.site import Site

# An operator's domain ("" for ONNX's own) and name.
Operator = tuple[str, str]
# It leaves a site as it is where plain operators say it already, and raises Refused where none can.
Lowering = Callable[[Site], None]

_BY_DEFINITION = """
    BlackmanWindow CausalConvWithState Celu CenterCropPad HammingWindow HannWindow
    LinearAttention NegativeLogLikelihoodLoss RotaryEmbedding SoftmaxCrossEntropyLoss SwiGLU Swish
"""

_BY_DATA = "NonMaxSuppression NonZero Unique"
_RANDOM = """
    Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike
"""

_ONNX: Mapping[str, Lowering] = {
    **dict.fromkeys(_BY_DEFINITION.split(), function_body),
    **dict.fromkeys(_BY_DATA.split(), indexing.depends_on_data),
    **dict.fromkeys(_RANDOM.split(), indexing.random),
    "Attention": attention.onnx_attention,
    "BatchNormalization": normalisation.batch_normalization,
    "BitShift": elementwise.bit_shift,
    "Cast": elementwise.convert,
    "CastLike": elementwise.convert,
    "Col2Im": spatial.column_to_image,
    "Compress": indexing.compress,
    "ConstantOfShape": indexing.by_length,
    "ConvTranspose": spatial.conv_transpose,
    "Cosh": elementwise.hyperbolic,
    "CumProd": reducing.product_along,
    "DFT": signal.fourier,
    "DeformConv": spatial.deformable,
    "Det": spatial.determinant,
    "Dropout": elementwise.dropout,
    "EyeLike": elementwise.eye_like,
    "IsInf": elementwise.is_inf,
    "MaxPool": spatial.max_pool,
    "MaxUnpool": spatial.max_unpool,
    "Mod": elementwise.modulo,
    "OneHot": elementwise.one_hot,
    "Pow": elementwise.power,
    "Range": indexing.by_length,
    "ReduceMax": reducing.extreme,
    "ReduceMean": reducing.mean,
    "ReduceMin": reducing.extreme,
    "ReverseSequence": indexing.reverse_sequence,
    "STFT": signal.short_time_fourier,
    "Slice": indexing.empty_slice,
    "Sinh": elementwise.hyperbolic,
    "SpaceToDepth": spatial.space_to_depth,
    "TensorScatter": indexing.tensor_scatter,
    "ConvInteger": quantised.conv_integer,
    "DequantizeLinear": quantised.dequantize,
    "DynamicQuantizeLinear": quantised.dynamic_quantize,
    "GRU": recurrent,
    "GroupNormalization": normalisation.group_normalization,
    "If": control_flow.branch,
    "LRN": normalisation.local_response,
    "LSTM": recurrent,
    "LayerNormalization": normalisation.layer_normalization,
    "Loop": control_flow.loop,
    "LpNormalization": normalisation.lp_normalization,
    "MatMul": quantised.matmul,
    "MatMulInteger": quantised.matmul_integer,
    "QLinearConv": quantised.qlinear_conv,
    "QLinearMatMul": quantised.qlinear_matmul,
    "QuantizeLinear": quantised.quantize,
    "RMSNormalization": normalisation.whole_rms_normalization,
    "RNN": recurrent,
    "Resize": resize,
    "Scan": control_flow.scan,
    # ONNX Runtime writes it without a domain.
    "SimplifiedLayerNormalization": normalisation.rms_normalization,
}

_MICROSOFT: Mapping[str, Lowering] = {
    "Attention": attention.attention,
    "BiasAdd": fused.bias_add,
    "BiasGelu": fused.gelu,
    "BiasSplitGelu": fused.bias_split_gelu,
    "DequantizeLinear": quantised.dequantize,
    "DynamicQuantizeMatMul": quantised_fused.dynamic_matmul,
    "EmbedLayerNormalization": normalisation.embed_layer_norm,
    "ExpandDims": fused.inverse_of_expand,
    "FastGelu": fused.fast_gelu,
    "FusedConv": fused.fused_conv,
    "FusedGemm": fused.fused_gemm,
    "FusedMatMul": fused.fused_matmul,
    "GatherND": fused.renamed("GatherND"),
    "Gelu": fused.gelu,
    "GroupNorm": normalisation.group_norm,
    "MatMulIntegerToFloat": quantised_fused.matmul_integer_to_float,
    "MatMulNBits": quantised_fused.matmul_nbits,
    "MultiHeadAttention": attention.multi_head_attention,
    "NhwcConv": fused.channels_last("Conv"),
    "NhwcMaxPool": fused.channels_last("MaxPool"),
    "Pad": fused.renamed("Pad"),
    "QGemm": quantised_fused.qgemm,
    "QLinearAdd": quantised_fused.binary("Add"),
    "QLinearAveragePool": quantised_fused.unary("AveragePool"),
    "QLinearConcat": quantised_fused.qlinear_concat,
    "QLinearGlobalAveragePool": quantised_fused.unary("GlobalAveragePool"),
    "QLinearLeakyRelu": quantised_fused.unary("LeakyRelu"),
    "QLinearMul": quantised_fused.binary("Mul"),
    "QLinearReduceMean": quantised_fused.qlinear_reduce_mean,
    "QLinearSigmoid": quantised_fused.unary("Sigmoid"),
    "QLinearSoftmax": quantised_fused.qlinear_softmax,
    "QLinearWhere": quantised_fused.qlinear_where,
    "QuantizeLinear": quantised.quantize,
    "QuickGelu": fused.quick_gelu,
    "RotaryEmbedding": fused.rotary,
    "SkipGroupNorm": normalisation.group_norm,
    "SkipLayerNormalization": normalisation.skip_layer_norm,
    "SkipSimplifiedLayerNormalization": normalisation.skip_rms_norm,
    "TransposeMatMul": fused.fused_matmul,
    "Trilu": fused.renamed("Trilu"),
}

LOWERINGS: Mapping[Operator, Lowering] = {
    **{("", name): lowering for name, lowering in _ONNX.items()},
    **{("com.microsoft", name): lowering for name, lowering in _MICROSOFT.items()},
    ("ai.onnx.preview", "FlexAttention"): function_body,
}
