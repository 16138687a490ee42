"""What a checkpoint was made from, and the model that fits it."""

from tinkex.actors._transport import Transport
from tinkex.protocol import LoraConfig, TinkexError, wire
from tinkex.protocol.replies import CheckpointInfo


async def get_checkpoint_info(transport: Transport, path: str) -> CheckpointInfo:
    """Ask what the checkpoint at ``path`` was made from."""
    body = wire.encode(wire.WeightsInfoRequest(tinker_path=path))
    told = await transport.post("/api/v1/weights_info", body, what="weights_info")
    reply = wire.decode(told, wire.WeightsInfoReply)
    return CheckpointInfo(
        path=path,
        base_model=reply.base_model,
        is_lora=reply.is_lora,
        lora_rank=reply.lora_rank,
        train_unembed=reply.train_unembed,
        train_mlp=reply.train_mlp,
        train_attn=reply.train_attn,
    )


def lora_like(info: CheckpointInfo) -> LoraConfig:
    """Return the adapter of the checkpoint that ``info`` describes; what an older server leaves out is its default."""
    return LoraConfig(
        rank=info.lora_rank if info.lora_rank is not None else LoraConfig().rank,
        train_mlp=info.train_mlp is not False,
        train_attn=info.train_attn is not False,
        train_unembed=info.train_unembed is not False,
    )


def not_lora(path: str) -> TinkexError:
    """Build the error of a checkpoint that is no adapter."""
    return TinkexError(
        f"{path} is not a LoRA checkpoint; only LoRA training can be resumed",
        kind="validation",
        category="user",
        data={"path": path, "step": "checkpoint_info"},
    )
