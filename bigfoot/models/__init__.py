"""The encoder that can take any shape, and the folders it lives in.

Importing this room registers the model with transformers: ``AutoModelForCTC.from_pretrained`` on a native folder then
gives ``BigfootForCTC``; and a forked child computes on one thread (``bigfoot.models.forked``).
"""

from transformers import AutoConfig, AutoModel, AutoModelForCTC

from bigfoot.models import forked
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC, CTCOutput
from bigfoot.models.encoder import SpeechEncoder
from bigfoot.models.outputs import SpeechEncoderOutput

AutoConfig.register(BigfootConfig.model_type, BigfootConfig)
AutoModel.register(BigfootConfig, SpeechEncoder)
AutoModelForCTC.register(BigfootConfig, BigfootForCTC)

__all__ = ["BigfootConfig", "BigfootForCTC", "CTCOutput", "SpeechEncoder", "SpeechEncoderOutput", "forked"]
