from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HolePunch(_message.Message):
    __slots__ = ("type", "addresses", "carrick")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    CARRICK_FIELD_NUMBER: _ClassVar[int]
    type: int
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    carrick: Extension
    def __init__(self, type: _Optional[int] = ..., addresses: _Optional[_Iterable[bytes]] = ..., carrick: _Optional[_Union[Extension, _Mapping[str, _Any]]] = ...) -> None: ...

class Extension(_message.Message):
    __slots__ = ("udp", "tcp", "initiator_dials", "delay")
    UDP_FIELD_NUMBER: _ClassVar[int]
    TCP_FIELD_NUMBER: _ClassVar[int]
    INITIATOR_DIALS_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    udp: Behaviour
    tcp: Behaviour
    initiator_dials: bool
    delay: int
    def __init__(self, udp: _Optional[_Union[Behaviour, _Mapping[str, _Any]]] = ..., tcp: _Optional[_Union[Behaviour, _Mapping[str, _Any]]] = ..., initiator_dials: bool = ..., delay: _Optional[int] = ...) -> None: ...

class Behaviour(_message.Message):
    __slots__ = ("mapping", "filtering", "delta", "step", "blocked", "translates")
    MAPPING_FIELD_NUMBER: _ClassVar[int]
    FILTERING_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    TRANSLATES_FIELD_NUMBER: _ClassVar[int]
    mapping: int
    filtering: int
    delta: int
    step: int
    blocked: bool
    translates: bool
    def __init__(self, mapping: _Optional[int] = ..., filtering: _Optional[int] = ..., delta: _Optional[int] = ..., step: _Optional[int] = ..., blocked: bool = ..., translates: bool = ...) -> None: ...
