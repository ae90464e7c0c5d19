"""Values between Python and PostgreSQL's wire formats; pure functions of bytes and text.

`TypeRegistry` gives the `Codec` of a type by its OID; docs/types.md is the table of what
becomes what. One module for each family of types, one codec for each type.
"""

from pgwire.pgtypes.array_shapes import Array
from pgwire.pgtypes.codec import Codec, Literal
from pgwire.pgtypes.interval import Interval
from pgwire.pgtypes.jsons import Json
from pgwire.pgtypes.registration import register_type
from pgwire.pgtypes.registry import TypeRegistry

__all__ = ["Array", "Codec", "Interval", "Json", "Literal", "TypeRegistry", "register_type"]
