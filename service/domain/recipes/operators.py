"""The operators that a program of one's own may consist of, as torch names them: pure functions of tensors and numbers.

None reads a file, draws a number except dropout, looks at memory it was not given, or changes what it was given.
"""

from typing import Literal, get_args

Operator = Literal[
    # layers
    "aten.adaptive_avg_pool1d.default", "aten.adaptive_avg_pool2d.default", "aten.adaptive_max_pool2d.default",
    "aten.avg_pool1d.default", "aten.avg_pool2d.default", "aten.batch_norm.default", "aten.conv1d.default",
    "aten.conv1d.padding", "aten.conv2d.default", "aten.conv2d.padding", "aten.conv3d.default",
    "aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.dropout.default", "aten.embedding.default",
    "aten.feature_dropout.default", "aten.group_norm.default", "aten.layer_norm.default", "aten.linear.default",
    "aten.max_pool1d.default", "aten.max_pool2d.default", "aten.rms_norm.default",
    "aten.scaled_dot_product_attention.default",
    # activations
    "aten.celu.default", "aten.elu.default", "aten.gelu.default", "aten.glu.default", "aten.hardsigmoid.default",
    "aten.hardswish.default", "aten.hardtanh.default", "aten.leaky_relu.default", "aten.log_sigmoid.default",
    "aten.log_softmax.int", "aten.mish.default", "aten.prelu.default", "aten.relu.default", "aten.relu6.default",
    "aten.selu.default", "aten.sigmoid.default", "aten.silu.default", "aten.softmax.int", "aten.softplus.default",
    "aten.tanh.default",
    # shapes
    "aten.alias.default", "aten.cat.default", "aten.chunk.default", "aten.clone.default",
    "aten.constant_pad_nd.default", "aten.contiguous.default", "aten.detach.default", "aten.expand.default",
    "aten.expand_as.default", "aten.flatten.using_ints", "aten.index.Tensor", "aten.index_select.default",
    "aten.lift_fresh_copy.default", "aten.movedim.int", "aten.narrow.default", "aten.pad.default",
    "aten.permute.default",
    "aten.pixel_shuffle.default", "aten.reshape.default", "aten.select.int", "aten.slice.Tensor", "aten.split.Tensor",
    "aten.split_with_sizes.default", "aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims",
    "aten.stack.default", "aten.sym_size.int", "aten.t.default", "aten.to.dtype", "aten.transpose.int",
    "aten.type_as.default", "aten.unbind.int", "aten.unflatten.int", "aten.unsqueeze.default", "aten.view.default",
    # arithmetic
    "aten.abs.default", "aten.add.Scalar", "aten.add.Tensor", "aten.addmm.default", "aten.amax.default",
    "aten.amin.default", "aten.bitwise_and.Tensor", "aten.bitwise_not.default", "aten.bitwise_or.Tensor",
    "aten.bmm.default", "aten.clamp.default", "aten.clamp_min.default", "aten.cos.default", "aten.cumsum.default",
    "aten.div.Scalar", "aten.div.Tensor", "aten.einsum.default", "aten.eq.Scalar", "aten.eq.Tensor", "aten.erf.default",
    "aten.exp.default", "aten.ge.Scalar", "aten.ge.Tensor", "aten.gt.Scalar", "aten.gt.Tensor", "aten.le.Scalar",
    "aten.le.Tensor", "aten.linalg_vector_norm.default", "aten.log.default", "aten.logical_and.default",
    "aten.logical_not.default", "aten.lt.Scalar", "aten.lt.Tensor", "aten.masked_fill.Scalar", "aten.matmul.default",
    "aten.max.dim", "aten.maximum.default", "aten.mean.default", "aten.mean.dim", "aten.minimum.default",
    "aten.mm.default", "aten.mul.Scalar", "aten.mul.Tensor", "aten.ne.Scalar", "aten.ne.Tensor", "aten.neg.default",
    "aten.pow.Tensor_Scalar", "aten.reciprocal.default", "aten.rsqrt.default", "aten.rsub.Scalar", "aten.sin.default",
    "aten.sqrt.default", "aten.square.default", "aten.sub.Scalar", "aten.sub.Tensor", "aten.sum.dim_IntList",
    "aten.tril.default", "aten.triu.default", "aten.var.correction", "aten.var.dim", "aten.where.self",
    # made from nothing
    "aten.arange.default", "aten.arange.start", "aten.arange.start_step", "aten.full.default", "aten.full_like.default",
    "aten.ones.default", "aten.ones_like.default", "aten.zeros.default", "aten.zeros_like.default",
    # numbers, such as the rows of a batch
    "operator.add", "operator.floordiv", "operator.mul", "operator.neg", "operator.sub",
]
OPERATORS: frozenset[str] = frozenset(get_args(Operator))
