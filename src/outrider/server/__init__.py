"""The processes of one node, and the wiring that joins the stages."""
